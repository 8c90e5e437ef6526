"""Pose Check on the embedded engine: any pose finder's keypoints, or a pose model's."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mannequin.headless import folders

H, W = 64, 48


def body(x=24.0, y=8.0, size=50.0):
    """An upright person's 18 points, flat, all known."""
    places = [
        *((0, 0.05), (0, 0.18), (-0.15, 0.2), (-0.2, 0.35), (-0.22, 0.5)),
        *((0.15, 0.2), (0.2, 0.35), (0.22, 0.5)),
        *((-0.08, 0.52), (-0.08, 0.75), (-0.08, 1.0), (0.08, 0.52), (0.08, 0.75), (0.08, 1.0)),
        *((-0.02, 0.03), (0.02, 0.03), (-0.05, 0.04), (0.05, 0.04)),
    ]
    return [n for a, b in places for n in (x + a * size, y + b * size, 1.0)]


def frames(*bodies, canvas=(W, H)):
    named = dict(zip(("canvas_width", "canvas_height"), canvas, strict=True)) if canvas else {}
    return [{"people": [{"pose_keypoints_2d": one}], **named} for one in bodies]


def check(execute, image, target, **changes):
    options = {"person": 1, "threshold": 0.05, "confidence": 0.3}
    return execute("MannequinPoseCheck", image=image, target=target, **{**options, **changes})


def test_a_pose_finders_keypoints_are_compared(execute, make):
    picture = make.picture(3)
    overlay, pck, error, table = check(execute, picture, frames(body()), measured=frames(body()))
    assert (pck, error) == (1.0, 0.0) and overlay.shape == (1, H * 11, W * 11, 3)
    off = frames(body(x=27.0, y=12.0))
    _, pck, error, table = check(execute, picture, frames(body()), measured=off)
    assert pck == 0 and error == pytest.approx(5, abs=1e-4) and "right wrist: 0 of 1" in table
    unsure = [n * 0.2 if k % 3 == 2 else n for k, n in enumerate(body())]
    _, pck, error, table = check(execute, picture, frames(body()), measured=frames(unsure))
    assert pck == 0 and math.isnan(error) and "nobody was found" in table


def test_the_pose_model_measures_where_no_keypoints_are_given(
    execute, make, person_model, pose_model_file
):
    pictures = make.picture(3, batch=2)
    options = {"pose_model": pose_model_file.name, "vae": person_model[1], "confidence": 0.0}
    overlay, _, error, table = check(execute, pictures, frames(body()), **options)
    assert overlay.shape[0] == 2 and error > 0 and "picture 2" in table
    wider = torch.nn.functional.pad(pictures, (0, 0, 1, 2))  # the VAE crops 1 pixel each side
    _, _, _, wide = check(execute, wider, frames(shifted(body(), 1), canvas=(W + 3, H)), **options)
    assert wide == table
    with pytest.raises(ValueError, match="got neither"):
        check(execute, pictures, frames(body()))
    with pytest.raises(ValueError, match="got a pose model without VAE"):
        check(execute, pictures, frames(body()), pose_model=pose_model_file.name)


def shifted(flat, x):
    return [n + x if k % 3 == 0 else n for k, n in enumerate(flat)]


def test_another_models_vae_is_refused(execute, make, inpaint_parts, pose_model_file, tmp_path):
    tensors = load_file(pose_model_file)
    with safe_open(pose_model_file, framework="pt") as file:
        config = json.loads(file.metadata()["mannequin"])
    config["head"]["latent_channels"] = 4
    tensors["head.enter.0.weight"] = tensors["head.enter.0.weight"][:, :4].contiguous()
    about = {"mannequin": json.dumps(config), "provenance": "{}"}
    save_file(tensors, tmp_path / "four.safetensors", about)
    folders.add_model_folder_path("mannequin_poses", str(tmp_path))
    with pytest.raises(ValueError, match="Expected latents of 4 channels"):
        check(
            execute,
            make.picture(3),
            frames(body()),
            pose_model="four.safetensors",
            vae=inpaint_parts[2],
        )
