"""The head's coordinates, the file of head and field, and guidance through the embedded engine."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers")

from mannequin.hosts import diffusers as host
from mannequin.hosts.pose_head import KeypointHead, read_pose_model
from mannequin.lab.training import models, pose_head_random
from mannequin.methods.leffa import Leffa, Reference
from mannequin.methods.person import DENSE_POSE_CHANNELS
from mannequin.methods.pose_guidance import GuidanceReport, PoseGuidance

GRID = (8, 6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return pose_head_random.build(0, tmp_path_factory.mktemp("pose") / "pose.safetensors")


@pytest.fixture(scope="module")
def model(path):
    return read_pose_model(path)


def test_points_are_in_pixels_and_a_peak_is_where_it_is():
    head = KeypointHead(4, 8, (16, 16))
    places = torch.full((1, 18, 5, 7), -50.0)
    seen = torch.zeros(1, 18, 5, 7)
    places[0, :, 3, 2] = 50.0
    places[0, 1, 3, 3] = 50.0
    seen[0, 2, 3, 2], seen[0, 2, 0, 0] = 2.0, -9.0
    points = head.points(places, seen)
    assert points[0, 0].tolist() == [20.0, 28.0, 0.5]
    assert points[0, 1, :2].tolist() == [24.0, 28.0]
    torch.testing.assert_close(points[0, 2, 2], torch.tensor(2.0).sigmoid())


@pytest.mark.parametrize("grid", [(8, 6), (7, 9), (1, 1)])
def test_any_grid_is_read_inside_the_picture_and_pictures_do_not_mix(model, grid):
    z = torch.randn(3, 12, *grid, generator=torch.Generator().manual_seed(0))
    points = model.measure(z)
    assert points.shape == (3, 18, 3)
    size = torch.tensor([grid[1] * 4.0, grid[0] * 4.0])
    assert ((points[..., :2] >= 0) & (points[..., :2] <= size)).all()
    assert ((points[..., 2] > 0) & (points[..., 2] < 1)).all()
    torch.testing.assert_close(model.measure(z[1:2])[0], points[1])


def test_what_the_vae_gives_is_measured_in_the_models_scale(model):
    halved = replace(model, config={**model.config, "latent_scale": 0.5})
    z = torch.randn(1, 12, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(halved.measure(2 * z), model.measure(z))
    assert not torch.allclose(halved.measure(z), model.measure(z), atol=1e-3)


def test_a_file_written_is_read_again(path, model):
    again = read_pose_model(path)
    for mine, other in ((model.head, again.head), (model.field, again.field)):
        for name, tensor in mine.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name])
            assert not tensor.requires_grad
    assert again.provenance == {"random": True, "seed": 0}
    assert again.config["families"] == ["mannequin-tiny"]


def test_a_model_of_other_latents_is_told(model):
    model.check(models.person_config())
    plain = {"family": "plain", "latent_channels": 4, "downscale": 8}
    with pytest.raises(ValueError, match=r"latents of mannequin-tiny \(12 channels.*4 channels"):
        model.check(plain)
    with pytest.raises(ValueError, match="mannequin-tiny-inpaint"):
        model.check({**models.person_config(), "family": "mannequin-tiny-inpaint"})
    with pytest.raises(ValueError, match=r"cell, scale 1\).*4 pixels, scale 0\.5\)"):
        model.check(models.person_config(latent_scale=0.5))
    with pytest.raises(ValueError, match=r"12 channels; got \[1, 4, 8, 6\]"):
        model.measure(torch.zeros(1, 4, 8, 6))


def test_files_that_are_none_are_told(path, tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_pose_model(tmp_path / "none.safetensors")
    person = models.build(0, tmp_path / "person.safetensors")
    with pytest.raises(ValueError, match="is a person model, not a pose model"):
        read_pose_model(person)
    other = tmp_path / "other.safetensors"
    tensors = {"head.a": torch.zeros(1), "field.a": torch.zeros(1)}
    config = {"family": "mannequin-pose", **pose_head_random.pose_config(narrow=True)}
    save_file(tensors, other, {"mannequin": json.dumps(config)})
    with pytest.raises(ValueError, match="do not fit their configuration"):
        read_pose_model(other)
    old = {key: value for key, value in config.items() if key != "latent_scale"}
    save_file(tensors, other, {"mannequin": json.dumps(old)})
    with pytest.raises(ValueError, match="latent_scale"):
        read_pose_model(other)
    save_file(tensors, other, {"mannequin": json.dumps({**config, "family": "x"})})
    with pytest.raises(ValueError, match="family is 'mannequin-pose'; got 'x'"):
        read_pose_model(other)


def sampled(path, tmp_path, *methods):
    """Three steps of a random person model under inference_mode, as the nodes run it."""
    with torch.inference_mode():
        person, _ = host.load_person_model(path)
        g = torch.Generator().manual_seed(0)
        latents = torch.randn(1, 1, 12, *GRID, generator=g)
        dense = torch.rand(1, 1, DENSE_POSE_CHANNELS, *GRID, generator=g)
        person = host.patch(person, Leffa(Reference(torch.empty(0), latents, dense)))
        for method in methods:
            person = host.patch(person, method)
        concat = torch.randn(1, 13 + DENSE_POSE_CHANNELS, *GRID, generator=g)
        given = [(torch.zeros(1, 1, 1), {"noise_concat": concat})]
        start = {"samples": torch.zeros(2, 12, *GRID)}
        out = host.sample(person, 0, 3, 2.0, "euler", "simple", given, given, start)
    return out["samples"]


def test_guidance_in_the_embedded_engine(tmp_path, path):
    person = models.build(0, tmp_path / "person.safetensors")
    pose = read_pose_model(path)
    target = torch.tensor([12.0, 16.0, 1.0]).repeat(1, 18, 1)
    plain = sampled(person, tmp_path)
    off = PoseGuidance(pose.head, pose.field, target, 0.0)
    assert torch.equal(sampled(person, tmp_path, off), plain)
    report = GuidanceReport()
    on = PoseGuidance(pose.head, pose.field, target, 20.0, report=report)
    out = sampled(person, tmp_path, on)
    assert out.isfinite().all() and not torch.equal(out, plain)
    assert [(one.index, one.picture) for one in report.steps] == [
        (k, row) for k in range(3) for row in range(2)
    ]
    assert torch.equal(sampled(person, tmp_path, on), out)  # a second run: nothing is kept
    late = PoseGuidance(pose.head, pose.field, target, 20.0, start=1.0, report=report)
    sampled(person, tmp_path, late)
    assert {one.index for one in report.steps} == {2}
