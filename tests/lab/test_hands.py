"""Training of the hand generator, on a few rendered close-ups."""

import pytest
import torch

pytest.importorskip("anny")

from mannequin.hosts.hands import load_hand_model
from mannequin.lab.people.portrait_shards import write_portraits
from mannequin.lab.training import hands_tiny, inpaint_random
from mannequin.lab.training.autoencoder import shipped
from mannequin.lab.training.hands_data import hand_region, open_pool
from mannequin.lab.training.loop import Schedule
from mannequin.methods.hands import decode_mask, encode_mask


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hands-work")
    write_portraits(folder / "portraits", 0, 1, "train")
    write_portraits(folder / "portraits-heldout", 0, 1, "heldout")
    return folder


@pytest.fixture(scope="module")
def pool(work):
    return open_pool(work / "portraits")


def test_left_hands_are_mirrored_with_their_points_and_masks(pool):
    assert len(pool) == 4 and pool.mask.float().mean((1, 2)).min() > 0.05
    for k in range(4):
        seen = pool.points[k][pool.points[k, :, 2] > 0]
        x, y = seen[:, 0].long().clamp(0, 63), seen[:, 1].long().clamp(0, 63)
        assert pool.mask[k, y, x].float().mean() > 0.7


def test_a_batch_shows_what_is_to_be_painted(pool):
    batch = pool.draw(12, torch.Generator().manual_seed(1))
    assert batch.picture.shape == batch.pose.shape == (12, 3, 64, 64)
    assert batch.region.shape == (12, 1, 64, 64) and set(batch.region.unique().tolist()) <= {0, 1}
    assert batch.skin.shape == (12, 4) and set(batch.skin[:, 3].tolist()) == {0.0, 1.0}
    again = pool.draw(12, torch.Generator().manual_seed(1))
    assert torch.equal(batch.picture, again.picture) and torch.equal(batch.pose, again.pose)


def test_masks_survive_their_latent(pool):
    masks = pool.mask.float()
    back = decode_mask(encode_mask(masks, (16, 16)), 64, 64) > 0.5
    shared = (back & (masks > 0)).sum((1, 2)) / (back | (masks > 0)).sum((1, 2))
    assert shared.min() > 0.9


def test_regions_cover_the_hand_or_everything(pool):
    import numpy as np

    rng = np.random.default_rng(0)
    shares = [float(hand_region(pool.mask[0].float(), rng).mean()) for _ in range(30)]
    assert max(shares) == 1.0 and min(shares) < 0.9
    assert hand_region(torch.zeros(8, 8), rng).shape == (8, 8)


def test_training_brings_the_loss_down_and_writes_a_model(work, tmp_path, monkeypatch):
    monkeypatch.setattr(hands_tiny, "WIDTHS", (32, 32))
    monkeypatch.setattr(hands_tiny, "BATCH", 4)
    pool, vae = open_pool(work / "portraits"), shipped()
    trainer, loss = hands_tiny.make_trainer(
        hands_tiny.hands_config(), vae, pool, tmp_path / "c.safetensors", Schedule(40, 3e-3, 5, 0.2)
    )
    before = hands_tiny.heldout_loss(loss, pool, 8)
    trainer.run(loss)
    after = hands_tiny.heldout_loss(loss, pool, 8)
    assert after["total_999"] < 0.8 * before["total_999"]
    assert after["mask_350"] < before["mask_350"]


def test_the_command_makes_a_file_that_opens(work, tmp_path, monkeypatch):
    monkeypatch.setattr(hands_tiny, "WIDTHS", (32, 32))
    monkeypatch.setattr(hands_tiny, "HELDOUT", 1)
    out = tmp_path / "hands.safetensors"
    base = inpaint_random.build(0, tmp_path / "base.safetensors")
    few = ["--portraits", "1", "--steps", "1"]
    hands_tiny.main(["--work", str(work), "--base", str(base), "--out", str(out), *few])
    model = load_hand_model(out)
    assert model.size == 64 and model.net.channels == 16
