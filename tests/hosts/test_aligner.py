"""The aligner's network and its file, beside a person model with random weights."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mannequin.hosts import diffusers as host
from mannequin.hosts.aligner import (
    Aligner,
    AlignerNet,
    aligner_config,
    read_aligner,
    write_aligner,
)
from mannequin.lab.training.aligner import layers_of
from mannequin.lab.training.models import build
from mannequin.methods.flow import identity
from mannequin.methods.flow_record import FlowRecord
from mannequin.methods.leffa import Leffa, Reference
from mannequin.methods.person import DENSE_POSE_CHANNELS as D
from mannequin.methods.reposedm import Aligned, AlignmentRecord

C, H, W = 12, 8, 6


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return host.load_person_model(build(0, tmp_path_factory.mktemp("w") / "r.safetensors"))


def random_net(config: dict, seed: int = 0) -> AlignerNet:
    """Also what starts at zero is random, so that everything acts."""
    torch.manual_seed(seed)
    net = AlignerNet(**config["net"])
    for last in (net.guess, net.change, *net.leave.values()):
        torch.nn.init.normal_(last.weight, std=0.3)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def aligner(loaded):
    config = aligner_config(loaded[0].config, layers_of(loaded[0]), hidden=8, width=8, embedding=8)
    return Aligner(config, random_net(config), {"random": True})


@pytest.fixture(scope="module")
def reference(loaded):
    g = torch.Generator().manual_seed(1)
    image = torch.rand(1, H * 4, W * 4, 3, generator=g)
    pose = torch.rand(1, 1, D, H, W, generator=g)
    return Reference(image, loaded[1].encode(image)[None], pose)


def pose(seed: int = 2, rows: int = 1, grid: tuple[int, int] = (H, W)) -> torch.Tensor:
    return torch.rand(rows, D, *grid, generator=torch.Generator().manual_seed(seed))


def sample(model, method, rows: int = 1, grid: tuple[int, int] = (H, W)) -> torch.Tensor:
    g = torch.Generator().manual_seed(2)
    concat = torch.rand(1, 1 + C + D, *grid, generator=g)
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": concat}]]
    latent = {"samples": torch.zeros(rows, C, *grid)}
    with torch.inference_mode():
        return host.sample(
            host.patch(model, method),
            0,
            2,
            1.5,
            "euler",
            "simple",
            conditioning,
            conditioning,
            latent,
        )["samples"]


def test_no_iterations_sample_what_leffa_samples(loaded, aligner, reference):
    plain = sample(loaded[0], Leffa(reference))
    assert torch.equal(sample(loaded[0], Aligned(reference, aligner.net, None, pose(), 0)), plain)
    aligned = [sample(loaded[0], Aligned(reference, aligner.net, None, pose(), k)) for k in (1, 3)]
    assert not torch.equal(aligned[0], plain) and not torch.equal(*aligned)
    again = sample(loaded[0], Aligned(reference, aligner.net, None, pose(), 3))
    assert torch.equal(aligned[1], again)


def test_it_runs_with_a_batch_records_and_results_of_another_size(loaded, aligner, reference):
    record, flow = AlignmentRecord(), FlowRecord(["up.2.1"])
    method = Aligned(reference, aligner.net, None, pose(rows=2), observer=flow, record=record)
    out = sample(loaded[0], method, rows=2)
    assert torch.isfinite(out).all() and not torch.equal(out[0], out[1])
    assert record.flow.shape == (3, 2, 1, H, W, 2)
    assert flow.field().xy.shape == (2, 1, H, W, 2)
    grid = (12, 10)
    method = Aligned(reference, aligner.net, None, pose(grid=grid), once=True, record=record)
    assert torch.isfinite(sample(loaded[0], method, grid=grid)).all()
    assert record.flow.shape == (3, 1, 1, *grid, 2)


@pytest.mark.parametrize("level", [0, 1])
def test_the_flow_depends_on_both_poses_and_the_texture(aligner, reference, level):
    net = random_net({"net": {**aligner.config["net"], "level": level}})
    texture, source = reference.latents[0], reference.dense_pose[0]
    with torch.no_grad():
        first = net(texture, source, pose(), 2)
        others = [
            net(texture + 1, source, pose(), 2),
            net(texture, source.flip(-1), pose(), 2),
            net(texture, source, pose(7), 2),
        ]
    grid = (H >> level, W >> level)
    assert first.start.shape == (1, *grid, 2) and first.flows.shape == (2, 1, *grid, 2)
    assert first.logits.shape == (2, 1, *grid) and first.hidden.shape == (1, 8, *grid)
    assert not torch.equal(first.flows[0], first.flows[1])
    for other in others:
        assert (other.flows[-1] - first.flows[-1]).abs().max() > 1e-3


def test_iterations_share_their_weights_and_go_on_from_each_other(aligner, reference):
    given = reference.latents[0], reference.dense_pose[0], pose()
    with torch.no_grad():
        two, four = (aligner.net(*given, k) for k in (2, 4))
    assert torch.equal(two.flows, four.flows[:2])
    with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
        aligner.net(*given, 0)


def test_the_same_pose_is_matched_with_itself_before_any_training(reference, aligner):
    torch.manual_seed(0)
    net = AlignerNet(**aligner.config["net"])
    source = reference.dense_pose[0]
    with torch.no_grad():
        found = net(reference.latents[0], source, source, 1).flows[0, 0]
        moved = net(reference.latents[0], source, source.roll(-2, -1), 1).flows[0, 0]
    way = (found - identity(H, W, found)).abs().mean()
    assert way < 0.05
    shift = (moved - identity(H, W, moved))[:, 1:-3, 0].median()
    assert shift == pytest.approx(2 * 2 / W, abs=0.1)


def test_every_weight_can_learn(aligner, reference):
    net = random_net(aligner.config).requires_grad_(True)
    out = net(reference.latents[0], reference.dense_pose[0], pose(), 2)
    told = [
        net.residual(out.hidden, layer).square().mean() for layer in aligner.config["net"]["layers"]
    ]
    (out.start.sum() + out.flows.square().sum() + out.logits.sum() + sum(told)).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_a_file_gives_back_what_was_written(tmp_path, aligner, reference, loaded):
    path = tmp_path / "aligners" / "a.safetensors"
    write_aligner(path, aligner)
    assert not list(path.parent.glob("*.partial"))
    back = read_aligner(path)
    assert back.config == aligner.config and back.provenance == {"random": True}
    back.check(loaded[0].config)
    given = reference.latents[0], reference.dense_pose[0], pose()
    with torch.no_grad():
        torch.testing.assert_close(
            back.net(*given, 2).flows, aligner.net(*given, 2).flows, atol=0.02, rtol=0
        )
    assert not any(p.requires_grad for p in back.net.parameters())
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["mannequin"])["base"] == "mannequin-tiny"


def test_another_model_is_told_that_no_aligner_was_trained_for_it(aligner, loaded):
    published = {**loaded[0].config, "family": "sdxl", "dense_pose": "iuv", "latent_channels": 4}
    with pytest.raises(ValueError, match=r"No aligner was trained for this model.*mannequin-tiny"):
        aligner.check(published)
    with pytest.raises(ValueError, match="dense_pose, latent_channels differ"):
        aligner.check(published)
    with pytest.raises(ValueError, match=r"layer down\.0\.0: this one knows down\.1\.0"):
        aligner.net.residual(torch.zeros(1, 8, H, W), "down.0.0")


def test_files_that_are_no_aligner_are_named(tmp_path, aligner):
    with pytest.raises(ValueError, match="no such file"):
        read_aligner(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="is a person model, not a recurrent aligner"):
        read_aligner(build(1, tmp_path / "person.safetensors"))
    path = tmp_path / "a.safetensors"
    write_aligner(path, aligner)
    tensors = load_file(path)
    about = {"mannequin": json.dumps(aligner.config), "provenance": "{}"}
    for changed, message in (
        ({"family": "another"}, "family is 'mannequin-tiny-aligner'; got 'another'"),
        ({"net": {**aligner.config["net"], "hidden": 9}}, "do not fit their configuration"),
        ({"model": {}}, "do not fit their configuration"),
    ):
        config = json.dumps({**aligner.config, **changed})
        save_file(tensors, path, {**about, "mannequin": config})
        with pytest.raises(ValueError, match=message):
            read_aligner(path)


def test_one_net_serves_models_with_and_without_a_source_pose(loaded, aligner, reference):
    unknown = replace(reference, dense_pose=torch.zeros_like(reference.dense_pose))
    told = Aligned(unknown, aligner.net, reference.dense_pose, pose())
    assert torch.isfinite(sample(loaded[0], told)).all()
    guessed = Aligned(unknown, aligner.net, None, pose())
    assert not torch.equal(told.align().flows, guessed.align().flows)
