"""Matching, moving and its losses: the arithmetic of the recurrent aligner."""

import pytest
import torch

from mannequin.methods.alignment import (
    confidence_loss,
    correlation,
    flow_loss,
    likely_visible,
    look_up,
    moved,
    on_grid,
    soft_match,
    warp_loss,
)
from mannequin.methods.alignment_view import sheet
from mannequin.methods.flow import identity
from mannequin.methods.reposedm import AlignmentRecord

H, W = 4, 6


def test_matching_finds_what_was_moved():
    g = torch.Generator().manual_seed(2)
    source = torch.randn(1, 16, H, W, generator=g)
    likeness = correlation(source.roll(-1, 3), source)
    assert likeness.shape == (1, H * W, H, W) and likeness.max() <= 1 + 1e-5
    xy, sure = soft_match(likeness, 200.0)
    xy = xy.view(1, H, W, 2)
    wanted = identity(H, W, xy) + torch.tensor([2 / W, 0.0])
    torch.testing.assert_close(xy[0, :, :-1], wanted[:, :-1], atol=1e-3, rtol=0)
    assert sure.min() > 0.99
    _, vague = soft_match(likeness, 0.0)
    torch.testing.assert_close(vague, torch.full((1, H * W), 1 / (H * W)))
    near = look_up(likeness, xy, 1, 2)
    assert near.shape == (1, 18, H, W)
    torch.testing.assert_close(near[0, 4], torch.ones(H, W), atol=1e-3, rtol=0)
    there = likeness[0, 7].flatten()[9]
    here = identity(H, W, xy)
    flow = here.view(-1, 2)[9].expand(1, H, W, 2)
    torch.testing.assert_close(look_up(likeness, flow, 1, 1)[0, 4].flatten()[7], there)


def test_a_translation_stays_one_on_every_grid():
    way = torch.tensor([0.25, -0.5])
    xy = identity(H, W, way)[None] + way
    for grid in ((H // 2, W // 2), (2 * H, 2 * W), (H, W)):
        there, sure = on_grid(xy, torch.full((1, H, W), 0.5), grid)
        torch.testing.assert_close(there[0], identity(*grid, way) + way)
        torch.testing.assert_close(sure, torch.full((1, *grid), 0.5))


def test_a_coarse_cell_goes_where_its_confident_cells_go():
    xy = identity(2, 2, torch.zeros(()))[None].clone()
    xy[0, 0, 0] += torch.tensor([1.0, 0.0])
    sure = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    there, pooled = on_grid(xy, sure, (1, 1))
    torch.testing.assert_close(there[0, 0, 0], torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)
    assert pooled.item() == 0.25


def test_flow_loss_is_zero_at_the_truth_and_minds_the_last_iteration_most():
    truth = identity(H, W, torch.zeros(()))[None]
    known = torch.ones(1, H, W)
    assert flow_loss([truth, truth], truth, known, 0.8) == 0
    off = truth + 0.5
    early, late = (
        flow_loss([off, truth], truth, known, 0.8),
        flow_loss([truth, off], truth, known, 0.8),
    )
    assert early < late and float(early + late) == pytest.approx(1.0)
    half = known.clone()
    half[..., : W // 2] = 0
    wrong = torch.where(half.bool().unsqueeze(-1), truth, truth + 9)
    assert flow_loss([wrong], truth, half, 0.8) == 0


def test_confidence_loss_asks_for_what_is_visible():
    visible = (torch.arange(W) < 2).float().expand(1, H, W)
    right, wrong = ((visible * 20 - 10) * sign for sign in (1, -1))
    known = torch.ones(1, H, W)
    assert (
        confidence_loss([right], visible, known)
        < 1e-3
        < 5
        < confidence_loss([wrong], visible, known)
    )
    assert confidence_loss([wrong], visible, known * 0) == 0


def test_without_truth_the_pictures_teach_the_flow_and_the_confidence():
    g = torch.Generator().manual_seed(4)
    small = torch.rand(1, 3, H, W, generator=g)
    source = torch.nn.functional.interpolate(small, (4 * H, 4 * W), mode="bicubic")
    right = identity(H, W, source)[None] + torch.tensor([2 / W, 0.0])
    goal = moved(source, identity(4 * H, 4 * W, source)[None] + torch.tensor([2 / W, 0.0]))
    mask = torch.ones(1, 1, 4 * H, 4 * W)
    wrong = identity(H, W, source)[None].clone().requires_grad_()
    assert warp_loss(right, source, goal, mask) < 1e-8
    loss = warp_loss(wrong, source, goal, mask)
    loss.backward()
    assert loss > 1e-3 and wrong.grad.abs().sum() > 0
    assert warp_loss(right, source, goal + 1, mask * 0) == 0
    assert likely_visible(right, source, goal).min() > 0.99
    assert likely_visible(right, source, goal + 1).max() < 0.01


def test_each_picture_of_a_batch_has_a_sheet_of_its_own():
    g = torch.Generator().manual_seed(5)
    flow = identity(H, W, torch.zeros(())).expand(1, 2, 1, H, W, 2)
    sure = torch.tensor([0.2, 0.9]).view(1, 2, 1, 1, 1).expand(1, 2, 1, H, W)
    images, source = torch.rand(2, 16, 24, 3, generator=g), torch.rand(1, 16, 24, 3, generator=g)
    record = AlignmentRecord(flow, sure)
    both = sheet(record, images, source)
    for k in (slice(0, 1), slice(1, 2)):
        alone = sheet(AlignmentRecord(flow[:, k], sure[:, k]), images[k], source)
        assert torch.equal(both[k], alone)
    assert torch.equal(sheet(record, torch.cat([images, images]), source), torch.cat([both, both]))
    with pytest.raises(ValueError, match=r"belongs to 2 picture\(s\); got 3"):
        sheet(record, torch.cat([images, images[:1]]), source)
