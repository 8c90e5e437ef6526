"""A real ComfyUI for the tests that need one, and a person model with random weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mannequin.lab.training import models

NEEDED = "torch, torchsde, aiohttp, transformers, safetensors, einops"


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """ComfyUI's folder: COMFYUI_DIR, or ~/comfy/ComfyUI. Skips when there is none."""
    folder = Path(os.environ.get("COMFYUI_DIR", "~/comfy/ComfyUI")).expanduser()
    if not (folder / "comfy").is_dir():
        pytest.skip(f"no ComfyUI in {folder}: set COMFYUI_DIR to run this test")
    return folder


@pytest.fixture(scope="session")
def comfy_python(comfyui: Path) -> str:
    """ComfyUI's interpreter: COMFYUI_PYTHON, its own .venv, or ours. Skips when it lacks things."""
    own = comfyui / ".venv" / "bin" / "python"
    python = os.environ.get("COMFYUI_PYTHON") or (str(own) if own.exists() else sys.executable)
    check = subprocess.run([python, "-c", f"import {NEEDED}"], capture_output=True, text=True)
    if check.returncode:
        last = check.stderr.strip().splitlines()[-1]
        pytest.skip(f"{python} cannot run ComfyUI ({last}): set COMFYUI_PYTHON to run this test")
    return python


@pytest.fixture(scope="session")
def person_file(tmp_path_factory) -> Path:
    """A person model with random weights."""
    return models.build(3, tmp_path_factory.mktemp("weights") / "random.safetensors")
