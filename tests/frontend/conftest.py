"""ComfyUI's front end in a headless browser, on a real server with stand-ins for weights."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mannequin.lab import browser, comfyui_server
from mannequin.lab.checkpoint_workflows import CHECKPOINT
from mannequin.lab.moa_controlnet_workflow import STAND_INS
from mannequin.lab.training import models

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"


@pytest.fixture(scope="session")
def address(tmp_path_factory) -> Iterator[str]:
    """Of a ComfyUI server on which every workflow finds a model file.

    The stand-ins for published models have their shape, narrower and with random weights. The one
    for the plain checkpoint and its companions is empty: such a model has no narrow form that
    ComfyUI knows.
    """
    comfyui = comfyui_server.comfyui_dir()
    lacking = comfyui_server.missing(comfyui)
    if lacking:
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("frontend")
    (folder / CHECKPOINT["name"]).touch()
    stand_ins = {
        "mannequin/leffa_virtual_tryon.safetensors": models.build_published(
            1, folder / "try_on.safetensors", "sd15", 32
        ),
        "mannequin/leffa_pose_transfer.safetensors": models.build_published(
            1, folder / "pose_transfer.safetensors", "sdxl", 64
        ),
        f"checkpoints/{CHECKPOINT['name']}": folder / CHECKPOINT["name"],
        **dict.fromkeys(STAND_INS, folder / CHECKPOINT["name"]),
    }
    with comfyui_server.server(folder / "comfyui", comfyui, stand_ins) as running:
        yield running


@pytest.fixture
def editor(address) -> Iterator[browser.Editor]:
    """A fresh tab. Afterwards nothing in it may have complained."""
    with browser.editor(address) as tab:
        yield tab
        assert tab.problems == []


@pytest.fixture(scope="session")
def shipped():
    """shipped(name, "api"): a workflow file; without "api", the canvas's."""

    def read(name: str, kind: str = "") -> dict:
        return json.loads((WORKFLOWS / kind / f"{name}.json").read_text(encoding="utf-8"))

    return read
