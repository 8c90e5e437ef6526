from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from mannequin.methods.hand_pose import Hand, HandPoses
from mannequin.methods.outpaint import (
    CURVES,
    GrowingOutpaint,
    Growth,
    compose,
    filmstrip,
    in_picture,
    widened,
)
from mannequin.methods.site import Step


def step(progress):
    return Step(1.0, progress, 0, 10, (True,))


def hand(left, top, side, picture=0, is_left=False):
    return Hand(torch.zeros(21, 3), is_left, picture, (left, top, side))


def blob():
    keep = torch.zeros(1, 1, 16, 12)
    keep[..., 6:10, 4:8] = 1
    return keep


@pytest.mark.parametrize("curve", CURVES)
def test_the_kept_region_shrinks_to_the_hand_and_then_to_its_core(curve):
    growth = Growth(8, curve, 0.6, 3)
    radii = [growth.radius(p / 20) for p in range(21)]
    assert radii[0] == 8 and all(a >= b for a, b in pairwise(radii))
    assert radii[11] > 0 and set(radii[12:]) == {-3}


def test_widening_is_dilation_erosion_and_even_between_whole_numbers():
    keep = blob()
    assert widened(keep, 0) is keep
    assert torch.equal(widened(keep, 2), F.max_pool2d(keep, 5, 1, 2))
    assert widened(keep, 2).sum() == 64 and widened(keep, -1).sum() == 4
    assert not widened(keep, -2).any()
    torch.testing.assert_close(
        widened(keep, 1.25), 0.75 * widened(keep, 1) + 0.25 * widened(keep, 2)
    )
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., :4] = 1
    assert torch.equal(widened(edge, -1)[..., :3], torch.ones(1, 1, 8, 3))  # the frame is no edge


def test_the_mask_grows_in_cells_of_the_latent():
    method = GrowingOutpaint(Growth(8, "linear", 0.5, 4), cell=4)
    mask = 1 - blob()
    assert torch.equal(method.mask(mask, step(0.0)), 1 - widened(blob(), 2))
    torch.testing.assert_close(method.mask(mask, step(0.25)), 1 - widened(blob(), 1))
    assert torch.equal(method.mask(mask, step(0.5)), 1 - widened(blob(), -1))


def test_without_growth_or_without_hands_the_mask_is_the_same():
    mask = torch.rand(1, 1, 8, 8)
    assert GrowingOutpaint(Growth(0, "linear", 0.5, 0), 4).mask(mask, step(0.0)) is mask
    everything = torch.ones(1, 1, 8, 8)
    method = GrowingOutpaint(Growth(), 4)
    assert all(torch.equal(method.mask(everything, step(p)), everything) for p in (0.0, 0.4, 1.0))


def test_hands_land_in_their_places_and_the_rest_stays():
    canvas = torch.rand(1, 40, 30, 3)
    poses = HandPoses((hand(4, 6, 8), hand(18, 20, 8)), 40, 30)
    pictures = torch.stack([torch.zeros(8, 8, 3), torch.ones(8, 8, 3)])
    masks = torch.zeros(2, 8, 8)
    masks[:, 2:6, 2:6] = 1
    made = compose(canvas, poses, pictures, masks)
    assert not made.image[0, 8:12, 6:10].any() and (made.image[0, 22:26, 20:24] == 1).all()
    outside = made.mask[0] == 1
    assert outside.sum() == 40 * 30 - 2 * 16
    assert torch.equal(made.image[0][outside], canvas[0][outside])
    around = compose(canvas, poses, pictures, masks, grow=2)
    assert not around.image[0, 6:14, 4:12].any() and torch.equal(around.mask, made.mask)


def test_surroundings_of_one_hand_never_cover_another():
    poses = HandPoses((hand(4, 4, 8), hand(8, 4, 8)), 20, 20)
    pictures = torch.stack([torch.zeros(8, 8, 3), torch.ones(8, 8, 3)])
    masks = torch.zeros(2, 8, 8)
    masks[0, :, :6], masks[1, :, 4:] = 1, 1
    made = compose(torch.full((1, 20, 20, 3), 0.5), poses, pictures, masks, grow=4)
    assert not made.image[0, 4:12, 4:10].any()
    assert (made.image[0, 4:12, 12:16] == 1).all()


def test_both_hands_at_one_place_the_later_is_in_front():
    poses = HandPoses((hand(4, 4, 8), hand(4, 4, 8, is_left=True)), 20, 20)
    pictures = torch.stack([torch.zeros(8, 8, 3), torch.ones(8, 8, 3)])
    made = compose(torch.full((1, 20, 20, 3), 0.5), poses, pictures, torch.ones(2, 8, 8))
    assert (made.image[0, 4:12, 4:12] == 1).all() and not made.mask[0, 4:12, 4:12].any()


def test_a_hand_cut_by_the_frame_and_a_mask_of_one_pixel():
    poses = HandPoses((hand(-4, 16, 8), hand(5, 5, 8)), 20, 20)
    masks = torch.zeros(2, 8, 8)
    masks[0], masks[1, 3, 4] = 1, 1
    made = compose(torch.zeros(1, 20, 20, 3), poses, torch.ones(2, 8, 8, 3), masks)
    assert (made.image[0, 16:, :4] == 1).all() and made.mask[0, 8, 9] == 0
    assert (made.mask == 0).sum() == 16 + 1


def test_each_picture_of_a_batch_gets_its_own_hands():
    poses = HandPoses((hand(2, 2, 8, picture=1),), 16, 16, pictures=2)
    made = compose(torch.zeros(1, 16, 16, 3), poses, torch.ones(1, 8, 8, 3), torch.ones(1, 8, 8))
    assert not made.image[0].any() and (made.mask[0] == 1).all()
    assert (made.image[1, 2:10, 2:10] == 1).all()


def test_no_hand_leaves_the_canvas():
    canvas = torch.rand(1, 8, 8, 3)
    made = compose(
        canvas, HandPoses((), 8, 8), torch.zeros(0, 4, 4, 3), torch.zeros(0, 4, 4), grow=3
    )
    assert torch.equal(made.image, canvas) and (made.mask == 1).all()


def test_what_does_not_match_is_told():
    poses = HandPoses((hand(2, 2, 8),), 16, 16)
    with pytest.raises(ValueError, match=r"each of 1 hand\(s\); got 2 picture"):
        compose(torch.zeros(1, 16, 16, 3), poses, torch.ones(2, 8, 8, 3), torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="16x16 pixels, as the hands; got 1 of 20x16"):
        compose(torch.zeros(1, 16, 20, 3), poses, torch.ones(1, 8, 8, 3), torch.ones(1, 8, 8))


def test_a_close_ups_mask_goes_to_its_place_at_any_scale():
    close = torch.zeros(64, 64)
    close[16:48, 16:48] = 1
    out = in_picture(close, (10, 20, 32), 60, 50)
    assert out.shape == (60, 50) and out[29:43, 19:33].min() > 0.99
    assert float(out.sum()) == pytest.approx(256, rel=0.05)


def test_a_filmstrip_shows_less_and_less_of_the_canvas():
    poses = HandPoses((hand(10, 10, 12),), 32, 32)
    canvas = compose(
        torch.ones(1, 32, 32, 3), poses, torch.ones(1, 12, 12, 3), torch.ones(1, 12, 12)
    )
    strip = filmstrip(canvas, Growth(6, "linear", 0.5, 2), (0.0, 0.4, 1.0))
    assert strip.shape == (1, 32, 96, 3)
    bright = [(part > 0.9).sum() for part in strip.chunk(3, 2)]
    assert bright[0] > bright[1] > bright[2] > 0
