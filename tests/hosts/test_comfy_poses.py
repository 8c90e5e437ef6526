"""Poses aligned, guided and checked, on a real ComfyUI against the embedded host.

`pose_child.py` says how each case is made on ComfyUI.
"""

import runpy
from pathlib import Path

import pytest
import torch

from mannequin.headless import folders, pictures
from mannequin.headless.registry import registry
from mannequin.hosts import diffusers as embedded
from mannequin.hosts.aligner import Aligner, AlignerNet, aligner_config, write_aligner
from mannequin.lab.training import models, pose_head_random
from mannequin.lab.training.aligner import layers_of

CASES = runpy.run_path(str(Path(__file__).with_name("pose_cases.py")))
dense_pose, picture, target = (CASES[name] for name in ("dense_pose", "picture", "target"))
INPUTS = Path(__file__).resolve().parents[2] / "workflows" / "inputs"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A person model, with an aligner and a pose model beside it, all random."""
    folder = tmp_path_factory.mktemp("poses")
    path = models.build(3, folder / "random.safetensors")
    model, _ = embedded.load_person_model(path)
    config = aligner_config(model.config, layers_of(model), hidden=8, width=8, embedding=8)
    torch.manual_seed(5)
    net = AlignerNet(**config["net"])
    with torch.no_grad():
        for p in net.parameters():
            p += torch.randn_like(p) * 0.1
    write_aligner(folder / CASES["ALIGNER"], Aligner(config, net, {"random": True}))
    pose_head_random.build(6, folder / CASES["POSE_MODEL"])
    for family in ("mannequin_aligners", "mannequin_poses"):
        folders.add_model_folder_path(family, str(folder))
    return path


@pytest.fixture(scope="module")
def out(comfy_child, base):
    return comfy_child("pose_child.py", base)


def run(name, *args, **inputs):
    with torch.inference_mode():
        return registry()[f"Mannequin{name}"].execute(*args, **inputs).args


@pytest.fixture(scope="module")
def loaded(base):
    return embedded.load_person_model(base)


@pytest.fixture(scope="module")
def reference(loaded):
    return run("ReferenceEncoder", *loaded, picture(), dense_pose(20))[0]


@pytest.fixture(scope="module")
def told(loaded):
    return run("PersonConditioning", *loaded, dense_pose(30))[:3]


@pytest.fixture(scope="module")
def align(loaded, reference, told):
    def align(given=told, **changes):
        how = {**CASES["ALIGNED"], **changes}
        return run("RecurrentPoseAligner", loaded[0], reference, given[0], **how)

    return align


def guide(on, keypoints=None, **changes):
    how = {**CASES["GUIDED"], **changes}
    return run("PoseGuidance", on, target=keypoints or target(), **how)


def paint(on, given):
    with torch.inference_mode():
        return embedded.sample(on, 7, 4, 2.5, "euler", "simple", *given)["samples"]


def same(a, b, tolerance=1e-3):
    return a.shape == b.shape and bool((a - b).abs().max() < tolerance * b.abs().max())


def test_off_is_off_on_comfyui(out):
    assert torch.equal(out["no_iterations"], out["plain"])
    assert torch.equal(out["no_strength"], out["not_looking"])
    assert torch.equal(out["not_guided"], out["plain"])
    assert torch.equal(out["both"], out["both_again"])
    for name in ("aligned", "guided", "both"):
        assert out[name].isfinite().all() and not same(out[name], out["plain"]), name


def test_the_aligner_is_the_same_on_both_hosts(out, align, told):
    model, alignment, flow = align()
    assert same(out["aligned"], paint(model, told))
    assert same(out["flow"], alignment.flow) and same(out["confidence"], alignment.confidence)
    assert same(out["looked"], flow.field().xy)
    assert out["sheet"].shape == (1, 512, 576, 3)
    assert same(out["once"], paint(align(reference_run="once")[0], told))


def test_guidance_is_the_same_on_both_hosts(out, loaded, reference, align, told):
    looking = run("FlowGuidedAttention", loaded[0], reference, **CASES["LOOKED"])[0]
    model, report = guide(looking)
    assert same(out["guided"], paint(model, told))
    errors, changes = (
        torch.tensor([getattr(one, name) for one in report.steps])
        for name in ("keypoint_error", "change")
    )
    assert same(out["errors"], errors) and same(out["changes"], changes, 1e-2)
    assert out["steps"].tolist() == [0, 1, 2]  # of 4, up to 0.7 of the sampling
    assert same(out["both"], paint(guide(align()[0])[0], told))


def test_a_batch_has_a_target_each_on_both_hosts(out, loaded, align):
    pair = run("PersonConditioning", *loaded, torch.cat([dense_pose(30), dense_pose(14)]))[:3]
    model = guide(align(given=pair)[0], target(48.0) + target(30.0))[0]
    assert out["two"].shape[0] == 2 and same(out["two"], paint(model, pair))


def test_other_nodes_keep_working(out):
    assert out["rescaled"].isfinite().all() and not same(out["rescaled"], out["both"])
    left = out["masked"][..., :10]
    torch.testing.assert_close(left, out["kept"][..., :10], atol=1e-4, rtol=0)
    assert not same(out["masked"][..., 14:], out["kept"][..., 14:])


def test_a_picture_is_measured_on_both_hosts(out, loaded, align, told):
    decoded = loaded[1].decode(out["aligned"])
    overlay, pck, error, _ = run("PoseCheck", decoded, target(), vae=loaded[1], **CASES["CHECKED"])
    assert out["overlay"].shape == overlay.shape == (1, 768, 576, 3)
    torch.testing.assert_close(out["check"], torch.tensor([pck, error]), atol=0.1, rtol=0)


def test_comfyui_loads_nine_poses_as_a_batch(out):
    ours, _ = pictures.read_picture(INPUTS / "person_a_nine_poses.png")
    assert out["frames"].shape == (9, 128, 96, 3) and torch.equal(out["frames"], ours)


def test_models_that_nothing_was_trained_for_are_refused(out):
    assert out["refused"].tolist() == [1, 1]
