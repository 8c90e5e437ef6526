"""Pasting one picture over another under a mask."""

import pytest
import torch

from mannequin.headless.core_nodes import ImageCompositeMasked


def paste(destination, source, x=0, y=0, resize=False, mask=None):
    return ImageCompositeMasked.execute(destination, source, x, y, resize, mask)[0]


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 8, 6, 3, generator=generator), torch.rand(1, 4, 4, 3, generator=generator)


def test_where_the_mask_is_zero_nothing_changes(pictures):
    below, _ = pictures
    above = 1 - below
    mask = torch.zeros(1, 8, 6)
    mask[:, 2:5, 1:4] = 1
    before = below.clone()
    out = paste(below, above, mask=mask)
    inside = mask.expand(2, -1, -1) == 1
    assert torch.equal(out[~inside], below[~inside])
    assert torch.equal(out[inside], above[inside])
    assert torch.equal(below, before)


def test_half_a_mask_is_half_of_each(pictures):
    below, _ = pictures
    out = paste(below, torch.zeros_like(below), mask=torch.full((1, 8, 6), 0.5))
    torch.testing.assert_close(out, below / 2)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 3), (4, 6), (6, 8)])
def test_what_sticks_out_is_cut_off(pictures, x, y):
    below, above = pictures
    out = paste(below, above, x, y)
    h, w = min(4, 8 - y), min(4, 6 - x)
    assert torch.equal(out[1, y : y + h, x : x + w], above[0, :h, :w])
    changed = (out != below).any(-1)
    assert changed.sum() == 2 * h * w


def test_the_source_can_be_resized_and_the_mask_follows_it(pictures):
    below, above = pictures
    whole = paste(below, torch.ones_like(above), resize=True)
    torch.testing.assert_close(whole, torch.ones(2, 8, 6, 3))
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])[None]
    out = paste(torch.zeros(1, 4, 4, 3), torch.ones(1, 4, 4, 3), mask=mask)
    assert out[0, :, 0].min() == 1 and out[0, :, 3].max() == 0
