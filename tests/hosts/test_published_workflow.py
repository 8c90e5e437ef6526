"""Published-shaped checkpoints through the same nodes on ComfyUI and on the embedded engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mannequin.headless.convert import convert
from mannequin.lab.training.models import build_published

STEPS = 4


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def published(model_name: str, folder: str, reference_run: str) -> dict:
    """Sampling as published: ancestral, leading spacing, rescaled guidance."""
    model, vae = ["model", 0], ["model", 1]
    return {
        "model": node("MannequinLoadPersonModel", model_name=model_name),
        "source": node("LoadImage", image=f"{folder}random_source.png"),
        "pose": node("LoadImage", image=f"{folder}published_pose.png"),
        "reference": node("MannequinReferenceEncoder", model=model, vae=vae, image=["source", 0]),
        "conditioning": node(
            "MannequinPersonConditioning", model=model, vae=vae, dense_pose=["pose", 0]
        ),
        "attention": node(
            "MannequinFlowGuidedAttention",
            model=model,
            reference=["reference", 0],
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
            record_flow=False,
            reference_run=reference_run,
        ),
        "rescale": node("MannequinGuidanceRescale", model=["attention", 0], strength=1.0),
        "sigmas": node("MannequinDiffusersScheduler", model=model, steps=STEPS, denoise=1.0),
        "sampler": node("KSamplerSelect", sampler_name="ddpm"),
        "sample": node(
            "SamplerCustom",
            model=["rescale", 0],
            add_noise=True,
            noise_seed=3,
            cfg=2.5,
            positive=["conditioning", 0],
            negative=["conditioning", 1],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["conditioning", 2],
        ),
        "decoded": node("VAEDecode", samples=["sample", 0], vae=vae),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="published"),
    }


@pytest.fixture(scope="module")
def published_pose(pictures: Path) -> Path:
    """A dense pose as both published families take it: blue is the part's number."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (128, 96, 3), dtype=np.uint8)
    pixels[..., 2] %= 25
    path = pictures / "published_pose.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("family", "width", "reference_run"),
    [("sd15", 32, "every step"), ("sd15", 32, "once"), ("sdxl", 64, "every step")],
)
def test_a_converted_checkpoint_paints_the_same_on_both_hosts(
    family, width, reference_run, server, pictures, published_pose, comfy_version, tmp_path
):
    if comfy_version < (0, 8):
        pytest.skip("this ComfyUI seeds the noise of ancestral samplers differently")
    source = build_published(0, tmp_path / "leffa.pth", family, width)
    name = f"leffa_{family}.safetensors"
    models = tmp_path / "models" / "mannequin"
    models.mkdir(parents=True)
    convert(source, models / name)
    theirs_file = server.folder / "models" / "mannequin" / name
    if not theirs_file.exists():
        theirs_file.symlink_to(models / name)
    for picture in pictures.iterdir():
        if not (server.folder / "input" / picture.name).exists():
            (server.folder / "input" / picture.name).symlink_to(picture)
    (theirs,) = server.paint(published(name, "", reference_run)).values()
    (tmp_path / "w.json").write_text(json.dumps(published(name, f"{pictures}/", reference_run)))
    done = subprocess.run(
        [sys.executable, "-m", "mannequin", "run", "w.json", "-o", "out"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.png")
    ours = np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)
    assert abs(theirs - ours).max() <= 2
    assert ours.std() > 1
