"""What the generator is told: target pose, repainted area, masked picture."""

import pytest
import torch

from mannequin.methods.person import DENSE_POSE_CHANNELS, encode_dense_pose
from mannequin.methods.repaint import area, condition

H, W, F = 32, 24, 4


def dense_pose(h=H, w=W, batch=1):
    """A torso in the middle, [batch, h, w, 3]."""
    pose = torch.zeros(batch, h, w, 3)
    pose[:, h // 4 : -h // 4, w // 4 : -w // 4] = torch.tensor([10, 80, 160]) / 255
    return pose


def encode(picture):
    """A stand-in for an autoencoder: the mean colour of 4x4 patches, [B, 3, H / 4, W / 4]."""
    return torch.nn.functional.avg_pool2d(picture.movedim(-1, 1), F)


@pytest.fixture
def person():
    return torch.rand(1, H, W, 3, generator=torch.Generator().manual_seed(0))


def test_everything_is_new_without_a_mask():
    concat, latent = condition(area(dense_pose()), encode, 2.0)
    mask, masked, pose = concat.split([1, 3, DENSE_POSE_CHANNELS], 1)
    assert mask.min() == 1
    assert torch.allclose(masked, torch.full_like(masked, 0.5 * 2))
    assert torch.equal(pose, encode_dense_pose(dense_pose(), (H // F, W // F)))
    assert latent.keys() == {"samples"}
    assert latent["samples"].shape == (1, 3, H // F, W // F) and not latent["samples"].any()


def test_a_person_without_a_mask_is_only_the_start(person):
    concat, latent = condition(area(dense_pose(), person), encode, 1.0)
    assert concat[:, :1].min() == 1
    assert torch.allclose(concat[:, 1:4], torch.tensor(0.5))
    assert torch.equal(latent["samples"], encode(person))
    assert "noise_mask" not in latent


def test_the_masked_area_is_grey_and_only_there_is_painted(person):
    mask = torch.zeros(1, H, W)
    mask[:, 9:17, 8:16] = 1
    concat, latent = condition(area(dense_pose(), person, mask), encode, 3.0)
    cells = torch.zeros(1, 1, H // F, W // F)
    cells[..., 2:5, 2:4] = 1
    assert torch.equal(latent["noise_mask"], cells)
    assert torch.equal(concat[:, :1], cells)
    outside = (cells == 0).expand(-1, 3, -1, -1)
    assert torch.equal(concat[:, 1:4][outside], 3.0 * encode(person)[outside])
    assert torch.allclose(concat[:, 1:4, 3, 2:4], torch.tensor(1.5))
    assert torch.equal(latent["samples"], encode(person))


def test_hands_are_taken_out(person):
    garment, hands = torch.ones(1, H, W), torch.zeros(1, H, W)
    hands[:, :8, :8] = 1
    for given in (garment, None):
        mask = area(dense_pose(), person, given, hands).mask
        assert torch.equal(mask, 1 - hands)


def test_an_empty_mask_repaints_nothing(person):
    concat, latent = condition(area(dense_pose(), person, torch.zeros(1, 64, 64)), encode, 1.0)
    assert not latent["noise_mask"].any() and not concat[:, :1].any()
    assert torch.equal(concat[:, 1:4], encode(person))


def test_one_for_all_in_a_batch(person):
    whole = area(dense_pose(batch=3), person, torch.ones(1, H, W))
    assert whole.picture.shape == whole.dense_pose.shape == (3, H, W, 3)
    assert whole.mask.shape == (3, H, W)
    assert area(dense_pose(), person.expand(2, -1, -1, -1)).dense_pose.shape[0] == 2


def test_a_mask_may_come_without_a_batch(person):
    mask = torch.zeros(H, W)
    mask[8:16] = 1
    assert torch.equal(area(dense_pose(), person, mask).mask, mask[None])


def test_the_pose_is_scaled_to_the_person_and_stays_a_pose(person):
    whole = area(dense_pose(2 * H, 2 * W), person)
    assert torch.equal(whole.dense_pose, dense_pose())


def test_sides_are_cropped_to_whole_cells():
    pose = dense_pose(H + 3, W + 2)
    person = torch.rand(1, H + 3, W + 2, 3)
    whole = area(pose, person, torch.ones(1, H + 3, W + 2), multiple=F)
    assert torch.equal(whole.picture, person[:, :H, :W])
    assert whole.mask.shape == (1, H, W)


def test_alpha_is_left_out():
    pose = torch.cat([dense_pose(), torch.ones(1, H, W, 1)], -1)
    person = torch.rand(1, H, W, 4)
    assert torch.equal(area(pose, person).picture, person[..., :3])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dense_pose": torch.rand(1, H, W, 3)}, "not a dense pose"),
        ({"garment_mask": torch.ones(1, H, W)}, "there is no picture. Connect the person"),
        (
            {"picture": torch.rand(1, W, H, 3)},
            "proportions of the person picture, 32x24; got 24x32",
        ),
        (
            {"dense_pose": dense_pose(2, 2), "picture": torch.rand(1, 3, 3, 3)},
            "at least 4x4 pixels; got 3x3. Give a larger one",
        ),
        (
            {"picture": torch.zeros(1).expand(1, 6000, 8000, 3)},
            "at most 1024x1024 pixels, or .*; got 8000x6000. Scale it down",
        ),
        (
            {"dense_pose": dense_pose(batch=3), "picture": torch.rand(2, H, W, 3)},
            "1 or 3 in the batch of pictures; got 2",
        ),
        (
            {"picture": torch.rand(1, H, W, 3), "garment_mask": torch.ones(1, W, H)},
            "garment mask with the proportions",
        ),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        area(**{"dense_pose": dense_pose(), "multiple": F, **given})
