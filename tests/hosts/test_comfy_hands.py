"""Hands first, then the body, on a real ComfyUI against the embedded host.

`hands_child.py` says how each case is made on ComfyUI.
"""

import json
import runpy
from pathlib import Path

import pytest
import torch

pytest.importorskip("anny")

from safetensors.torch import save_file

from mannequin.headless import folders
from mannequin.headless.registry import registry
from mannequin.headless.text_nodes import CLIPTextEncode, InpaintModelConditioning
from mannequin.hosts import diffusers as embedded
from mannequin.hosts.pose_branch import PoseNet, layers_of
from mannequin.lab.training import hands_random, inpaint_random

HandPose, HandRepair, HandStage, OutpaintBlender = (
    registry()[f"Mannequin{name}"]
    for name in ("HandPose", "HandRepair", "HandStage", "OutpaintBlender")
)
CASES = runpy.run_path(str(Path(__file__).with_name("hands_cases.py")))
SIZE, HANDS, BRANCH, GROWTH = (CASES[name] for name in ("SIZE", "HANDS", "BRANCH", "GROWTH"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An inpainting model, with a hand model and a pose branch beside it, all random."""
    folder = tmp_path_factory.mktemp("two-stages")
    path = inpaint_random.build(3, folder / "random-base.safetensors")
    hands_random.build(4, folder / HANDS)
    model, *_ = embedded.load_inpaint_model(path)
    net = {"layers": layers_of(embedded.cross_attention_weights(model)), "widths": [8, 8, 8]}
    net["patch"] = 4
    torch.manual_seed(5)
    made = {f"branch.{k}": torch.randn_like(t) / 4 for k, t in PoseNet(**net).state_dict().items()}
    config = {"family": "mannequin-tiny-pose-branch", "net": net}
    save_file(made, folder / BRANCH, {"mannequin": json.dumps(config)})
    for family in ("mannequin_hands", "mannequin_branches"):
        folders.add_model_folder_path(family, str(folder))
    return path


@pytest.fixture(scope="module")
def out(comfy_child, base):
    return comfy_child("hands_child.py", base)


@pytest.fixture(scope="module")
def loaded(base):
    return embedded.load_inpaint_model(base)


@pytest.fixture(scope="module")
def poses():
    height, width = SIZE
    made = HandPose.execute(width, height, 32, 0.35, 0.3, keypoint_json=CASES["KEYPOINTS"])
    return made.args


def paint(loaded, poses, **changes):
    model, clip, vae = loaded
    with torch.inference_mode():
        model, image, mask, _ = OutpaintBlender.execute(
            model, poses[0], *CASES["close_ups"](), **{**GROWTH, **changes}
        ).args
        both = [CLIPTextEncode.execute(text, clip).args[0] for text in ("a woman", "")]
        given = InpaintModelConditioning.execute(*both, vae, image, mask, True).args
        return embedded.sample(model, 7, 4, 2.5, "euler", "simple", *given)["samples"]


def same(a, b, tolerance=1e-3):
    return a.shape == b.shape and bool((a - b).abs().max() < tolerance * b.abs().max())


def test_poses_and_stage_one_are_the_same_on_both_hosts(out, poses):
    assert same(out["maps"], poses[1], 1e-5) and same(out["drawing"], poses[3], 1e-5)
    images, masks, latents = HandStage.execute(poses[0], HANDS, 3, 2, 1.5).args
    assert same(out["images"], images) and same(out["masks"], masks)
    assert same(out["latents"], latents["samples"])


def test_a_vae_of_comfyui_gives_its_own_latents(out, loaded):
    assert same(out["latents_of_vae"], loaded[2].encode(out["images"]))


def test_repair_is_the_same_on_both_hosts(out, poses):
    picture = torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(2))
    image, mask, _ = HandRepair.execute(picture, poses[0], HANDS, 3, 2, 1.0, 0.12, 2).args
    assert same(out["repaired"], image) and torch.equal(out["repaired_mask"], mask)
    outside = mask == 0
    assert torch.equal(out["repaired"][outside], picture[outside])


def test_stage_two_is_the_same_on_both_hosts(out, loaded, poses):
    assert same(out["two_stage"], paint(loaded, poses))
    assert same(out["fixed"], paint(loaded, poses, grow=0.0, border=0.0))
    assert same(out["guided"], paint(loaded, poses, pose_branch=BRANCH))
    assert torch.equal(out["two_stage"], out["again"])
    assert not same(out["two_stage"], out["fixed"]) and not same(out["two_stage"], out["guided"])


def test_a_plain_inpainting_checkpoint_keeps_the_hands(out):
    mask = torch.nn.functional.adaptive_max_pool2d(out["plain_mask"][:, None], (8, 6))
    kept = (mask == 0).expand_as(out["plain_start"])
    free = torch.nn.functional.adaptive_avg_pool2d(out["plain_mask"][:, None], (8, 6)) == 1
    free = free.expand_as(out["plain_start"])
    assert torch.isfinite(out["plain_kept"]).all() and free.any()
    assert not torch.isclose(out["plain_kept"][free], out["plain_start"][free]).all()
    if kept.any():
        near = (out["plain_kept"] - out["plain_start"])[kept].abs().mean()
        assert near < (out["plain_kept"] - out["plain_start"])[free].abs().mean()
