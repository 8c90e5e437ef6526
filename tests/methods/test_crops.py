import pytest
import torch
import torch.nn.functional as F

from mannequin.methods.crops import crop_around, fade, paste, resample

H, W = 40, 50


def picture(batch=1, seed=0):
    return torch.rand(batch, H, W, 3, generator=torch.Generator().manual_seed(seed))


def mask(*boxes):
    """One mask for each left, top, right, bottom."""
    out = torch.zeros(len(boxes), H, W)
    for one, (left, top, right, bottom) in zip(out, boxes, strict=True):
        one[top:bottom, left:right] = 1
    return out


def test_resampling_a_window_of_whole_pixels_copies_it():
    x = torch.rand(3, 20, 30)
    assert torch.equal(resample(x, (5, 2, 21, 18), 16, 16), x[:, 2:18, 5:21])


def test_resampling_beyond_the_picture_repeats_its_border():
    x = torch.rand(3, 20, 30)
    out = resample(x, (-4, 10, 16, 30), 20, 20)
    assert torch.equal(out, F.pad(x[None], (4, 0, 0, 10), mode="replicate")[0, :, 10:, :20])


@pytest.mark.parametrize("size", [(10, 15), (7, 11)])
def test_making_smaller_is_torchs_antialiased_bilinear_inside(size):
    x = torch.rand(1, 3, 20, 30)
    theirs = F.interpolate(x, size, mode="bilinear", antialias=True)
    ours = resample(x, (0, 0, 30, 20), *size)
    assert torch.allclose(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-5)


def test_making_larger_is_torchs_bilinear():
    x = torch.rand(1, 3, 20, 30)
    theirs = F.interpolate(x, (47, 66), mode="bilinear")
    assert torch.allclose(resample(x, (0, 0, 30, 20), 47, 66), theirs, atol=1e-5)


def test_half_a_pixel_aside():
    x = torch.arange(8.0).expand(1, 8, 8)
    out = resample(x, (1.5, 0, 4.5, 3), 3, 3)
    assert torch.allclose(out, torch.tensor([1.5, 2.5, 3.5]).expand(1, 3, 3))


def test_the_square_holds_the_mask_in_its_middle():
    image, hole = picture(), mask((20, 10, 30, 18))
    pictures, masks, crop = crop_around(image, hole, 16, 0.6)
    assert crop.windows == ((17, 6, 16),)
    assert torch.equal(pictures, image[:, 6:22, 17:33])
    assert torch.equal(masks, hole[:, 6:22, 17:33])


@pytest.mark.parametrize(
    ("hole", "window"),
    [
        ((0, 0, 10, 10), (0, 0, 20)),
        ((40, 30, 50, 40), (30, 20, 20)),
        ((0, 0, 50, 10), (-25, -30, 100)),
        ((20, 0, 22, 40), (-15, -20, 80)),
    ],
    ids=["top left", "bottom right", "as wide as the picture", "as high as the picture"],
)
def test_a_mask_at_the_edge(hole, window):
    pictures, masks, crop = crop_around(picture(), mask(hole), 32, 1.0)
    assert crop.windows == (window,)
    assert pictures.shape == (1, 32, 32, 3) and pictures.isfinite().all()
    if window[0] >= 0:
        area = (hole[2] - hole[0]) * (hole[3] - hole[1]) * (32 / window[2]) ** 2
        assert float(masks.sum()) == pytest.approx(area, rel=0.05)
    out = paste(crop, 1 - pictures)
    assert torch.equal(out[:, mask(hole)[0] == 0], crop.image[:, mask(hole)[0] == 0])
    assert (out != crop.image)[:, mask(hole)[0] > 0].float().mean() > 0.9


@pytest.mark.parametrize("feather", [0, 1, 5])
@pytest.mark.parametrize("size", [16, 24, 64])
def test_outside_the_mask_no_bit_changes(size, feather):
    image = picture()
    hole = mask((20, 10, 31, 19)) * torch.linspace(0.2, 1, W)
    pictures, _, crop = crop_around(image, hole, size, 0.45)
    out = paste(crop, torch.rand_like(pictures), feather)
    changed = (out != image).any(-1)
    assert not changed[hole == 0].any()
    assert changed[hole > 0].float().mean() > 0.99


def test_a_crop_that_was_not_scaled_is_pasted_exactly():
    image, hole = picture(), mask((20, 10, 30, 18))
    pictures, _, crop = crop_around(image, hole, 16, 0.6)
    assert torch.equal(paste(crop, pictures), image)
    painted = torch.rand_like(pictures)
    out = paste(crop, painted)
    assert torch.equal(out[:, 10:18, 20:30], painted[:, 4:12, 3:13])


def test_a_painting_of_another_size():
    slope = (1 + torch.arange(W) / W + torch.arange(H)[:, None] / H)[None, :, :, None] / 3
    image, hole = slope.expand(1, H, W, 3), mask((20, 10, 30, 18))
    pictures, _, crop = crop_around(image, hole, 16, 0.6)
    large = F.interpolate(pictures.movedim(-1, 1), (70, 70), mode="bilinear").movedim(1, -1)
    assert torch.allclose(paste(crop, large), image, atol=2e-3)
    out = paste(crop, torch.zeros(1, 48, 48, 3))
    assert ((out == 0).all(-1) == (hole > 0)).all()


def test_two_faces_in_one_picture_come_back_together():
    image, holes = picture(), mask((2, 3, 12, 13), (30, 20, 42, 30))
    pictures, masks, crop = crop_around(image, holes, 32, 0.5)
    assert len(pictures) == len(masks) == 2
    painted = torch.stack([torch.full_like(pictures[0], value) for value in (0.0, 1.0)])
    out = paste(crop, painted)
    assert out.shape == image.shape
    assert torch.allclose(out[0][holes[0] > 0], torch.tensor(0.0), atol=1e-6)
    assert torch.allclose(out[0][holes[1] > 0], torch.tensor(1.0), atol=1e-6)
    outside = holes.sum(0) == 0
    assert torch.equal(out[0][outside], image[0][outside])


def test_a_mask_for_each_picture():
    image, holes = picture(2), mask((2, 3, 12, 13), (30, 20, 42, 30))
    _, _, crop = crop_around(image, holes, 32, 0.5)
    out = paste(crop, torch.zeros(2, 32, 32, 3))
    for k in range(2):
        assert (out[k][holes[k] > 0] == 0).all()
        assert torch.equal(out[k][holes[k] == 0], image[k][holes[k] == 0])


def test_one_mask_for_all_pictures():
    image, hole = picture(3), mask((2, 3, 12, 13))
    pictures, _, crop = crop_around(image, hole, 32, 0.5)
    assert len(pictures) == len(crop.windows) == 3
    assert (paste(crop, torch.zeros(3, 32, 32, 3))[:, 3:13, 2:12] == 0).all()


def test_transparency_is_left_out_and_a_single_mask_may_lack_its_batch():
    image = torch.cat([picture(), torch.ones(1, H, W, 1)], -1)
    pictures, masks, crop = crop_around(image, mask((2, 3, 12, 13))[0], 32, 0.5)
    assert pictures.shape == (1, 32, 32, 3) and masks.shape == (1, 32, 32)
    assert paste(crop, pictures).shape == (1, H, W, 3)


def test_another_mask_may_decide_what_is_pasted():
    image, hole = picture(), mask((10, 10, 30, 30))
    pictures, _, crop = crop_around(image, hole, 32, 0.5)
    small = mask((12, 12, 20, 20))
    out = paste(crop, torch.zeros_like(pictures), mask=small)
    assert ((out != image).any(-1) == (small > 0)).all()


def test_a_mask_without_a_hole():
    with pytest.raises(ValueError, match=r"The mask has no hole: expected 1 where .* everywhere"):
        crop_around(picture(), torch.zeros(1, 64, 64), 32, 0.5)
    with pytest.raises(ValueError, match="Mask 2 of 2 has no hole"):
        crop_around(picture(), torch.cat([mask((1, 1, 5, 5)), torch.zeros(1, H, W)]), 32, 0.5)


def test_masks_and_pictures_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"one mask or one for each of 2 picture\(s\)"):
        crop_around(picture(2), torch.ones(3, H, W), 32, 0.5)
    with pytest.raises(ValueError, match="mask with the proportions of the picture, 50x40"):
        crop_around(picture(), torch.ones(1, W, H), 32, 0.5)


def test_paintings_that_do_not_belong_to_the_crop():
    pictures, _, crop = crop_around(picture(), mask((2, 3, 12, 13), (30, 20, 42, 30)), 32, 0.5)
    with pytest.raises(ValueError, match=r"2 painted close-up\(s\), one for each mask; got 1"):
        paste(crop, pictures[:1])
    with pytest.raises(ValueError, match="square close-ups; got 32x16"):
        paste(crop, pictures[:, :16])


def test_fading_rises_inwards():
    hole = torch.zeros(11, 11)
    hole[2:11, 1:10] = 1
    out = fade(hole, 2)
    assert torch.equal(out > 0, hole > 0)
    assert torch.allclose(out[6], torch.tensor([0, 1, 2, 3, 3, 3, 3, 3, 2, 1, 0]) / 3)
    assert torch.allclose(out[:, 5], torch.tensor([0, 0, 1, 2, 3, 3, 3, 3, 3, 3, 3]) / 3)
    assert torch.equal(fade(hole, 0), hole)


def test_a_thin_mask_keeps_its_height():
    hole = torch.zeros(9, 9)
    hole[4] = 0.8
    out = fade(hole, 6)
    assert float(out.max()) == pytest.approx(0.8)
    assert torch.equal(out > 0, hole > 0)


def test_fading_sees_the_mask_beyond_the_crops_window():
    """With no padding the mask ends where the window ends; it fades in all the same."""
    image, hole = torch.zeros(1, H, W, 3), mask((10, 10, 20, 20))
    _, _, crop = crop_around(image, hole, 10, 0.0)
    out = paste(crop, torch.ones(1, 10, 10, 3), 3)
    assert torch.allclose(out[0, 15, 10:15, 0], torch.tensor([1, 2, 3, 4, 4]) / 4)
