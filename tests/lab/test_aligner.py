"""The aligner's training: what is known of the flow, that everything learns, and the file."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

pytest.importorskip("anny")

from mannequin.hosts import diffusers as host
from mannequin.hosts.aligner import AlignerNet, aligner_config, read_aligner
from mannequin.lab.training import aligner as trainer
from mannequin.lab.training.aligner_data import FolderPairs, RenderedPairs, truth_at
from mannequin.lab.training.data import Shards
from mannequin.lab.training.models import build
from mannequin.methods.alignment import resized
from mannequin.methods.flow import identity

H, W = 32, 24


def write_shard(folder, sets: int = 4) -> None:
    """Coloured noise in the shards' layout; the person stands on the right, the flow is a step of
    two pixels to the left.
    """
    g = torch.Generator().manual_seed(0)
    image = torch.randint(256, (sets, 4, H, W, 3), generator=g, dtype=torch.uint8)
    part = torch.randint(1, 17, (sets, 4, H, W, 1), generator=g, dtype=torch.uint8) * 10
    uv = torch.randint(256, (sets, 4, H, W, 2), generator=g, dtype=torch.uint8)
    label = torch.randint(1, 9, (sets, 4, H, W), generator=g, dtype=torch.uint8)
    pose = torch.cat([part, uv], -1)
    label[..., : W // 2], pose[..., : W // 2, :] = 0, 0
    flow = identity(H // 2, W // 2, torch.zeros(())) - torch.tensor([4 / W, 0.0])
    flow = flow.expand(sets, 12, -1, -1, -1).clone()
    flow[..., : W // 4, :] = torch.nan
    visible = torch.ones(sets, 12, H // 2, W // 2, dtype=torch.uint8)
    visible[..., : W // 4] = 0
    tensors = {"image": image, "dense_pose": pose, "label": label}
    save_file(
        {**tensors, "flow": flow.half(), "visible": visible}, folder / "shard_00000.safetensors"
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligner-work")
    (folder / "train").mkdir()
    write_shard(folder / "train")
    return folder


@pytest.fixture(scope="module")
def base(work):
    return build(0, work / "base.safetensors")


@pytest.fixture(scope="module")
def loaded(base):
    return host.load_person_model(base)


@pytest.fixture(scope="module")
def pairs(work, loaded):
    shards = Shards(work / "train")
    shards.refresh()
    return RenderedPairs(shards, loaded[1].to_latent)


@pytest.fixture
def net(loaded):
    torch.manual_seed(0)
    model = loaded[0]
    config = aligner_config(model.config, trainer.layers_of(model), hidden=8, width=8, embedding=8)
    return AlignerNet(**config["net"])


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(trainer, "BATCHES", (3, 2))


def test_batches_know_the_flow_of_the_person_and_of_the_still_background(pairs):
    batch = pairs.draw(64, torch.Generator().manual_seed(0))
    truth, (h, w) = batch.truth, batch.target.shape[-2:]
    here = identity(h, w, truth.xy)
    right, left = slice(w // 2, None), slice(0, w // 2)
    way = (truth.xy - here) * torch.tensor([w, h]) / 2
    person = torch.tensor([-0.5, 0.0]).expand_as(way[:, :, right])
    torch.testing.assert_close(way[:, :, right], person, atol=2e-3, rtol=0)
    torch.testing.assert_close(way[:, :, left], way[:, :, left] * 0, atol=1e-6, rtol=0)
    assert torch.equal(truth.sure[:, :, right], torch.ones(64, h, w // 2))
    try_on = batch.concat[:, 0].flatten(1).mean(1) < 1
    assert 0 < try_on.sum() < 32
    assert not truth.known[try_on][:, :, left].any() and truth.known[~try_on].min() == 1
    assert truth.visible[~try_on].min() == 1
    unknown = ~batch.source_pose.flatten(1).any(1)
    assert 0 < unknown.sum() < 20 and batch.target_pose.flatten(1).any(1).all()
    assert batch.concat.shape[1] == 1 + 12 + batch.target_pose.shape[1]


def test_a_cell_of_both_goes_with_the_person_from_a_quarter_on():
    flow = torch.full((1, 2, 4, 2), torch.nan)
    flow[..., 3, :] = identity(2, 4, flow)[:, 3] - torch.tensor([1.0, 0.0])
    visible, painted, empty = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    visible[..., 3] = painted[..., 3] = 1
    painted[..., 2] = 1
    truth = truth_at((1, 2), flow, visible, painted, empty)
    here = identity(1, 2, flow)
    torch.testing.assert_close(truth.xy[0, 0, 0], here[0, 0])
    torch.testing.assert_close(truth.xy[0, 0, 1], here[0, 1] - torch.tensor([1.0, 0.0]))
    assert truth.sure.tolist() == [[[1.0, 0.5]]]
    assert truth.visible.tolist() == [[[1.0, 0.5]]] and truth.known.min() == 1
    covered = truth_at((1, 2), flow, visible * 0, painted, empty * 0)
    assert not covered.visible.any() and not covered.sure.any() and covered.known.min() == 1


@pytest.mark.parametrize("truth", [True, False])
def test_the_losses_reach_every_weight_but_the_models(loaded, net, pairs, truth):
    model = loaded[0]
    loss = trainer.AlignerLoss(model, net, pairs, 10, truth)
    torch.nn.init.normal_(net.change.weight, std=0.1)
    seen = []
    for step in (0, 9):
        net.zero_grad()
        terms = loss(step, torch.Generator().manual_seed(2))
        terms["total"].backward()
        assert all(torch.isfinite(term) for term in terms.values())
        seen.append({n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()})
    names = {"flow", "start"} if truth else {"warp"}
    assert set(terms) == {"total", "diffusion", "confidence"} | names
    parts = {name.split(".")[0] for name in seen[0]}
    assert {"pose", "texture", "match", "look", "gru", "change", "begin"} <= parts
    assert "leave" not in parts and {n for n in seen[1] if n.startswith("leave")} >= {
        f"leave.{layer.replace('.', '_')}.weight" for layer in trainer.layers_of(model)
    }
    assert all(p.grad is None for p in model.unet.unet.parameters())
    assert all(p.grad is None for p in model.reference.unet.parameters())


def test_the_flow_is_learnt(loaded, net, pairs):
    loss = trainer.AlignerLoss(loaded[0], net, pairs, 10**6)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    test = pairs.draw(4, torch.Generator().manual_seed(99))

    def error() -> float:
        with torch.no_grad():
            terms = loss.of(net(test.source, test.source_pose, test.target_pose, 2), test)
        return float(terms["flow"] + terms["confidence"])

    before = error()
    for step in range(30):
        optimizer.zero_grad()
        loss(step, torch.Generator().manual_seed(step))["total"].backward()
        optimizer.step()
    assert error() < 0.6 * before


def test_it_trains_writes_and_goes_on(work, base, monkeypatch):
    monkeypatch.setattr(trainer, "ALONE", 0.5)
    files = [work / "one.safetensors", work / "aligners" / "four.safetensors"]
    trainer.run(work, base, files[0], 1)
    trainer.run(work, base, files[1], 4)
    first, last = (read_aligner(path) for path in files)
    moved = {
        name.split(".")[0]
        for name, p in last.net.state_dict().items()
        if not torch.equal(p, first.net.state_dict()[name])
    }
    assert {"pose", "texture", "gru", "change", "leave"} <= moved
    with safe_open(files[1], "pt") as file:
        told = json.loads(file.metadata()["provenance"])
    assert told["steps"] == 4 and told["licence"] == "Apache-2.0" and "; true flow" in told["data"]
    last.check(host.load_person_model(base)[0].config)


def test_a_coarser_grid_meets_the_same_truth(loaded, net, pairs):
    batch = pairs.draw(2, torch.Generator().manual_seed(1))
    loss = trainer.AlignerLoss(loaded[0], net, pairs, 10)
    fine = net(batch.source, batch.source_pose, batch.target_pose, 1)
    net.level = 1
    coarse = net(batch.source, batch.source_pose, batch.target_pose, 1)
    assert coarse.logits.shape[-2:] == (H // 8, W // 8)
    assert resized(fine.logits, (H // 8, W // 8)).shape == coarse.logits.shape
    assert torch.isfinite(loss.of(coarse, batch)["flow"])


def picture(path, pose: bool, rng) -> None:
    pixels = rng.integers(0, 256, (64, 48, 3))
    if pose:
        pixels[..., 0] = 10 * rng.integers(1, 17, (64, 48))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_ones_own_pictures_are_pairs_without_truth(tmp_path, loaded, net):
    rng = np.random.default_rng(0)
    for who, count in (("ann", 3), ("bob", 2), ("alone", 1)):
        (tmp_path / who).mkdir()
        for k in range(count):
            picture(tmp_path / who / f"{k}.png", False, rng)
            picture(tmp_path / who / f"{k}-pose.png", True, rng)
    picture(tmp_path / "ann" / "unposed.png", False, rng)
    own = FolderPairs(tmp_path, loaded[1].to_latent, (H, W))
    assert [len(images) for images, _ in own.people] == [3, 2]
    batch = own.draw(6, torch.Generator().manual_seed(0))
    assert batch.truth is None and batch.source.shape == (6, 12, H // 4, W // 4)
    assert not any(torch.equal(a, b) for a, b in zip(batch.source, batch.target, strict=True))
    terms = trainer.AlignerLoss(loaded[0], net, own, 10)(0, torch.Generator().manual_seed(0))
    assert set(terms) == {"total", "warp", "confidence"}


def test_folders_that_hold_no_pairs_are_named(tmp_path, loaded):
    encode = loaded[1].to_latent
    with pytest.raises(ValueError, match=r"NAME-pose\.png; found none"):
        FolderPairs(tmp_path, encode, (H, W))
    (tmp_path / "ann").mkdir()
    for k in range(2):
        for name in (f"{k}.png", f"{k}-pose.png"):
            picture(tmp_path / "ann" / name, False, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"-pose\.png: This picture is not a dense pose"):
        FolderPairs(tmp_path, encode, (H, W))
