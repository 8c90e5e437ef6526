"""Pictures and masks of other sizes than asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mannequin.methods.framing import fit_mask, fit_picture, same_proportions


def test_a_picture_of_the_right_size_stays_as_it_is():
    picture = torch.rand(2, 8, 6, 3)
    assert torch.equal(fit_picture(picture, 8, 6), picture)
    assert torch.equal(fit_picture(picture, 8, 6, exact=True), picture)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24))
def test_any_size_fits_any_frame(h, w, height, width):
    out = fit_picture(torch.rand(1, h, w, 3), height, width)
    assert out.shape == (1, height, width, 3)
    assert out.min() >= 0 and out.max() <= 1


def test_a_wide_picture_is_centred_and_its_border_repeated():
    picture = torch.linspace(0, 1, 12).expand(6, 12)[None, ..., None].repeat(1, 1, 1, 3)
    out = fit_picture(picture, 12, 12)
    assert torch.equal(out[:, 3:9], picture)
    assert torch.equal(out[:, :3], picture[:, :1].expand(-1, 3, -1, -1))


def test_exact_never_invents_a_colour():
    codes = torch.tensor([0, 10, 70, 160]) / 255
    picture = codes[torch.randint(4, (1, 9, 7, 3))]
    out = fit_picture(picture, 31, 17, exact=True)
    assert set(out.unique().tolist()) <= set(codes.tolist())
    assert not out[:, 0].any()


PICTURES = torch.zeros(3, 32, 24, 3)


@pytest.mark.parametrize("shape", [(32, 24), (1, 32, 24), (3, 32, 24), (1, 64, 48), (3, 16, 12)])
def test_masks_of_the_same_proportions_are_fitted(shape):
    mask = fit_mask(torch.ones(shape), PICTURES, "mask")
    assert mask.shape == (3, 32, 24)
    assert mask.min() == 1


def test_a_mask_keeps_its_place_when_scaled():
    mask = torch.zeros(1, 64, 48)
    mask[:, :32] = 1
    fitted = fit_mask(mask, PICTURES, "mask")
    assert fitted[:, :16].min() == 1 and fitted[:, 16:].max() == 0


def test_an_empty_mask_may_have_any_size():
    assert not fit_mask(torch.zeros(1, 64, 64), PICTURES, "mask").any()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 32, 24), r"one hand mask or one for each of 3 picture\(s\); got .*\[2, 32, 24\]"),
        ((1, 32, 24, 1), "one hand mask or one for each"),
        ((1, 24, 32), "hand mask with the proportions of the picture, 24x32; got 32x24"),
    ],
)
def test_masks_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        fit_mask(torch.ones(shape), PICTURES, "hand mask")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((128, 96), (256, 192), True),
        ((128, 96), (129, 96), True),
        ((1024, 768), (1030, 768), True),
        ((128, 96), (96, 128), False),
        ((1024, 768), (1100, 768), False),
    ],
)
def test_same_proportions(a, b, same):
    assert same_proportions(a, b) is same
