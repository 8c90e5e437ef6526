"""The pack on a real ComfyUI server: it loads, lists its nodes, and paints what we paint."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
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
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
WORKFLOWS = [
    pytest.param(path, id=path.stem, marks=[] if path.stem == "pose_transfer" else pytest.mark.slow)
    for path in sorted((ROOT / "workflows" / "api").glob("*.json"))
    if all(
        name.startswith("mannequin-tiny")
        for name in re.findall(r"[\w-]+\.safetensors", path.read_text(encoding="utf-8"))
    )
]  # the others need weights of the user


@pytest.fixture
def embedded_folder(person_file, inpaint_file, tmp_path) -> Path:
    """A working folder of the command line, with the random weights among its models."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mannequin").symlink_to(person_file.parent)
    return tmp_path


def on_embedded_engine(prompt: dict, folder: Path) -> dict[str, np.ndarray]:
    """The pictures that `mannequin run` saves, each node's in one array [n, H, W, 3] by prefix;
    models come from folder/models.
    """
    (folder / "workflow.json").write_text(json.dumps(prompt))
    done = subprocess.run(
        [sys.executable, "-m", "mannequin", "run", "workflow.json", "-o", "out"],
        cwd=folder,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    out: dict[str, list[np.ndarray]] = {}
    for path in sorted((folder / "out").glob("*.png")):
        picture = np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)
        out.setdefault(path.name.rsplit("_", 2)[0], []).append(picture)
    return {prefix: np.stack(several) for prefix, several in out.items()}


def assert_same_pictures(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> None:
    assert theirs
    assert theirs.keys() == ours.keys()
    for name, picture in theirs.items():
        assert picture.shape == ours[name].shape, name
        assert abs(picture - ours[name]).max() <= 2, name


def test_server_loads_the_pack_and_lists_its_nodes(server):
    listed = json.loads(server.get("/object_info"))
    assert {name for name in listed if name.startswith("Mannequin")} == NODE_IDS
    times = server.log.split("Import times for custom nodes:")[1].split("\n\n")[0]
    assert "IMPORT FAILED" not in times


def test_all_nodes_give_the_embedded_engines_pictures(
    server, every_node, pictures, embedded_folder
):
    ours = on_embedded_engine(every_node(f"{pictures}/"), embedded_folder)
    assert_same_pictures(server.paint(every_node()), ours)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_workflow_gives_the_embedded_engines_picture(server, path, embedded_folder):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    assert_same_pictures(server.paint(prompt), on_embedded_engine(prompt, embedded_folder))
