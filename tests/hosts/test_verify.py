"""`mannequin verify`: golden outputs of the published Leffa code on every host that is present."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from mannequin.headless import golden, verify

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
FILES = sorted(FIXTURES.glob("leffa_*.safetensors"))
NOWHERE = Path("/nowhere")
needs_golden = pytest.mark.skipif(
    not FILES, reason="the golden files of the published code are not beside the project"
)


@needs_golden
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_embedded_host_is_the_published_code(path):
    errors = verify.on_diffusers(golden.read(path))
    assert golden.passed(errors), errors


@needs_golden
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_comfyui_is_the_published_code(path, comfyui, comfy_python):
    errors = verify.on_comfyui(path, comfyui, comfy_python)
    assert golden.passed(errors), errors


@pytest.fixture
def spoilt(tmp_path):
    """A golden file whose results are another model's."""
    with safe_open(FILES[0], "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    name = "sd.unet.up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_v.weight"
    tensors[name] = tensors[name] * 1.01
    path = tmp_path / "spoilt.safetensors"
    save_file(tensors, path, metadata)
    return path


def command(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mannequin", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


@needs_golden
def test_figures_are_printed_and_an_error_above_tolerance_fails(spoilt):
    good = command(FILES[0], "--comfyui", NOWHERE)
    assert good.returncode == 0, good.stderr
    figures = json.loads(good.stdout)
    assert figures["diffusers"]["forward_max_abs"] <= 1e-5
    assert figures["diffusers"]["sample_rel"] <= 1e-5
    assert "no ComfyUI in /nowhere" in figures["comfyui"]["absent"]
    bad = command(spoilt, "--comfyui", NOWHERE)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["diffusers"]["forward_max_abs"] > 1e-5


def test_other_files_are_named(tmp_path, person_file):
    with pytest.raises(ValueError, match=r"it lacks in.ref, .*out.forward_uncond_cond.*scheduler"):
        golden.read(person_file)
    text = tmp_path / "x.safetensors"
    text.write_text("no")
    with pytest.raises(ValueError, match="expected a golden safetensors file"):
        golden.read(text)
    done = command(text)
    assert done.returncode == 2 and "expected a golden" in done.stderr


def test_nothing_close_is_close():
    assert not golden.passed({"forward_max_abs": float("nan"), "sample_rel": 0.0})
    assert not golden.passed({"forward_max_abs": 0.0, "sample_rel": 2e-5})
    assert golden.passed({"forward_max_abs": 1e-5, "sample_rel": 1e-5})
