"""The networks that only measure: their loss, their reading, and that they learn."""

import pytest
import torch

pytest.importorskip("anny")

from mannequin.lab.training import hand_detector
from mannequin.lab.training.hand_detector import (
    DetectorLoss,
    PointNet,
    error_of,
    load_points,
    locate,
    point_loss,
    points_of,
    worn,
)
from mannequin.lab.training.hands_data import HandPool
from mannequin.lab.training.loop import Schedule, Trainer


def blobs(count=8, seed=0):
    """Close-ups with a bright dot on grey, 21 equal points 10 pixels to its right, as a pool."""
    g = torch.Generator().manual_seed(seed)
    at = torch.rand(count, 2, generator=g) * 40 + 12
    image = torch.full((count, 64, 64, 3), 90, dtype=torch.uint8)
    for k, (x, y) in enumerate(at.long().tolist()):
        image[k, y - 2 : y + 3, x - 2 : x + 3] = 250
    at = at + torch.tensor([10.0, 0.0])
    points = torch.cat([at, torch.ones(count, 1)], 1)[:, None].expand(-1, 21, -1).contiguous()
    return HandPool(image, torch.ones(count, 64, 64, dtype=torch.uint8), points)


def test_a_peak_is_read_between_the_cells():
    logits = torch.full((1, 2, 32, 32), -20.0)
    logits[0, 0, 10, 7] = logits[0, 0, 10, 8] = 5
    logits[0, 1, 0, 31] = 5
    found = locate(logits)[0]
    torch.testing.assert_close(found[0], torch.tensor([16.0, 21.0, 1.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1, :2], torch.tensor([63.0, 1.0]), atol=1e-2, rtol=0)


def test_the_loss_is_least_at_the_points_and_ignores_those_outside():
    points = torch.tensor([[[20.0, 30.0, 1.0], [90.0, 10.0, 1.0]]])
    right, wrong = torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 32, 32)
    right[0, 0, 15, 10] = wrong[0, 0, 3, 3] = 6
    assert point_loss(right, points) < point_loss(wrong, points)
    moved = right.clone()
    moved[0, 1, 5, 5] = 9
    assert point_loss(moved, points) == point_loss(right, points)


def test_errors_are_of_seen_points_only():
    found = torch.zeros(2, 2, 3)
    points = torch.tensor([[[3.0, 4.0, 1.0], [9.0, 9.0, 0.0]], [[0.0, 0.0, 0.0]] * 2])
    error = error_of(found, points, 10.0)
    assert float(error[0]) == pytest.approx(0.5) and error[1].isnan()


def test_worn_pictures_are_other_pictures_of_the_same_size():
    picture = torch.zeros(2, 3, 64, 64)
    out = worn(picture, torch.Generator().manual_seed(0))
    assert out.shape == picture.shape and out.std() > 0


def test_it_learns_to_find_a_dot_and_its_file_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(hand_detector, "BATCH", 8)
    torch.manual_seed(0)
    pool, net = blobs(64), PointNet(21, (16, 16, 16, 16))
    schedule = Schedule(60, rate=5e-3, warmup=5, decay=0.3, ema=0.9)
    trainer = Trainer({"net": net}, schedule, tmp_path / "c.safetensors", 0)
    before = error_of(points_of(net, pool.image / 255), pool.points, 64.0).mean()
    trainer.run(DetectorLoss(net, pool))
    after = error_of(points_of(net, pool.image / 255), pool.points, 64.0).mean()
    assert after < 0.6 * before

    monkeypatch.setattr(hand_detector, "open_points", lambda work, kind, heldout=False: blobs(4))
    out = tmp_path / "hand.safetensors"
    hand_detector.run(tmp_path, out, "hand", 1)
    assert points_of(load_points(out), torch.rand(2, 64, 64, 3)).shape == (2, 21, 3)
