"""The pack loads fast, and without the libraries that only some paths need."""

import subprocess
import sys
import textwrap

import pytest

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked in this test", name=name)

sys.meta_path.insert(0, Blocker())
"""

NODE_IDS = {
    "MannequinAlignmentPreview",
    "MannequinAttentionBackend",
    "MannequinDiffusersScheduler",
    "MannequinFaceEncoder",
    "MannequinFlowDetailTransfer",
    "MannequinFlowGuidedAttention",
    "MannequinFlowPreview",
    "MannequinGuidancePreview",
    "MannequinGuidanceRescale",
    "MannequinHandPose",
    "MannequinHandRepair",
    "MannequinHandStage",
    "MannequinLoadPersonAdapter",
    "MannequinLoadInpaintModel",
    "MannequinLoadPersonModel",
    "MannequinMaskCrop",
    "MannequinMoARouter",
    "MannequinOutpaintBlender",
    "MannequinParallelVisualAttention",
    "MannequinPasteCrop",
    "MannequinPersonConditioning",
    "MannequinPersonalizeFace",
    "MannequinPoseCheck",
    "MannequinPoseGuidance",
    "MannequinPoseKeypoints",
    "MannequinRecurrentPoseAligner",
    "MannequinReferenceEncoder",
    "MannequinRoutePreview",
    "MannequinSavePersonAdapter",
    "MannequinSubject",
}


def python(code: str, cwd, blocked: tuple[str, ...] = ()) -> str:
    """What `code` prints in a fresh interpreter that cannot import the `blocked` names."""
    program = BLOCKER.format(blocked=blocked) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_package_imports_without_torch_and_in_no_time(tmp_path):
    seconds = python(
        """
        import time
        start = time.perf_counter()
        import mannequin
        print(time.perf_counter() - start)
        assert mannequin.WEB_DIRECTORY == "./web"
        """,
        tmp_path,
        blocked=("torch", "numpy", "diffusers", "triton", "comfy", "comfy_api"),
    )
    assert float(seconds) < 0.1


@pytest.mark.parametrize("missing", [("diffusers",), ("triton",), ("diffusers", "triton")])
def test_nodes_load_without(missing, tmp_path):
    listed = python(
        """
        import asyncio
        from mannequin.headless import standin
        standin.install()
        import mannequin

        async def ids():
            extension = await mannequin.comfy_entrypoint()
            return [node.define_schema().node_id for node in await extension.get_node_list()]

        print(*asyncio.run(ids()))
        """,
        tmp_path,
        blocked=missing,
    )
    assert set(listed.split()) == NODE_IDS
