"""Matching and moving features between two poses: the arithmetic of the recurrent aligner.

RePoseDM (arXiv 2310.16074) does not tell its aligner's network; what is done here is RAFT's (arXiv
2003.12039, section 3): all pairs are compared once, every iteration looks up what lies around the
present flow. Flows hold positions in the source, -1..1 at the picture's edges (`flow.FlowField`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow import identity, warp

SURE = 1e-4  # the least confidence: its logarithm stays finite


@dataclass(frozen=True)
class Alignment:
    """P sources aligned to P targets by K iterations, on one grid h x w.

    start: [P, h, w, 2], the flow before the first iteration. flows: [K, P, h, w, 2] and logits:
    [K, P, h, w] of the confidence, after each. hidden: [P, c, h, w], the network's last state.
    """

    start: Tensor
    flows: Tensor
    logits: Tensor
    hidden: Tensor

    @property
    def confidence(self) -> Tensor:
        """[K, P, h, w], 0..1."""
        return self.logits.sigmoid()


def correlation(target: Tensor, source: Tensor) -> Tensor:
    """Likeness of all pairs [P, N, h', w']: embeddings [P, E, h, w], N = h * w, and [P, E, h', w'],
    each normalised, so that 1 is the same and -1 the opposite; what is shorter than 0.1 is next to
    nothing and like nothing.
    """
    target, source = (F.normalize(x, dim=1, eps=0.1) for x in (target, source))
    return torch.einsum("pen,pehw->pnhw", target.flatten(2), source)


def soft_match(likeness: Tensor, sharpness: Tensor | float) -> tuple[Tensor, Tensor]:
    """Where softmax(sharpness * likeness) expects each target cell in the source [P, N, 2], and how
    sure it is: the largest share [P, N], 0..1. likeness: [P, N, h, w].
    """
    h, w = likeness.shape[-2:]
    share = (likeness * sharpness).flatten(2).softmax(-1)
    return share @ identity(h, w, likeness).flatten(0, 1), share.amax(-1)


def look_up(likeness: Tensor, xy: Tensor, radius: int, levels: int) -> Tensor:
    """The likeness around the present flow (RAFT, section 3.2): [P, levels * (2 radius + 1)^2, h,
    w].

    likeness: [P, h * w, h', w']. xy: [P, h, w, 2]. Level n looks at steps of 2^n cells in a
    likeness pooled as much; outside the source it is 0.
    """
    p, h, w, _ = xy.shape
    around = torch.arange(-radius, radius + 1).to(xy)
    steps = torch.stack(torch.meshgrid(around, around, indexing="ij")[::-1], -1)
    volume = likeness.flatten(0, 1).unsqueeze(1)
    centre = xy.reshape(-1, 1, 1, 2)
    found = []
    for level in range(levels):
        if level:
            volume = F.avg_pool2d(volume, 2, ceil_mode=True, count_include_pad=False)
        cell = xy.new_tensor([2 / volume.shape[-1], 2 / volume.shape[-2]])
        window = F.grid_sample(volume, centre + steps * cell, align_corners=False)
        found.append(window.reshape(p, h, w, -1))
    return torch.cat(found, -1).movedim(-1, 1)


def moved(features: Tensor, xy: Tensor) -> Tensor:
    """Features [P, C, h', w'] fetched at xy [P, h, w, 2]: [P, C, h, w]."""
    return warp(features.movedim(1, -1), xy).movedim(-1, 1)


def on_grid(xy: Tensor, confidence: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A flow [P, h, w, 2] and its confidence [P, h, w], 0..1, on another grid.

    On a finer one the way is interpolated, on a coarser one it is the confident cells' mean (our
    design: a mean of what is right and what is hidden points nowhere).
    """
    h, w = confidence.shape[1:]
    if (h, w) == tuple(grid):
        return xy, confidence
    way = (xy - identity(h, w, xy)).movedim(-1, 1)
    sure = confidence.unsqueeze(1)
    if grid[0] < h or grid[1] < w:
        weight = sure.clamp_min(SURE)
        way = F.adaptive_avg_pool2d(way * weight, grid) / F.adaptive_avg_pool2d(weight, grid)
        sure = F.adaptive_avg_pool2d(sure, grid)
    else:
        way = F.interpolate(way, grid, mode="bilinear", align_corners=False)
        sure = F.interpolate(sure, grid, mode="bilinear", align_corners=False)
    return way.movedim(1, -1) + identity(*grid, xy), sure.squeeze(1)


def resized(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features [P, C, h, w] on another grid: the mean of a coarser cell, else interpolated."""
    if tuple(features.shape[-2:]) == tuple(grid):
        return features
    if features.shape[-2] > grid[0] or features.shape[-1] > grid[1]:
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, grid, mode="bilinear", align_corners=False)


def flow_loss(flows: Sequence[Tensor], truth: Tensor, known: Tensor, gamma: float) -> Tensor:
    """sum_i gamma^(K - i) |flow_i - truth| over the known cells (RAFT, section 3.3), each term the
    mean of |dx| + |dy| in the flow's units, the weights made to sum to 1 so that K does not matter.

    flows: K of [P, h, w, 2]. truth: [P, h, w, 2]. known: [P, h, w], 0..1, the share of a cell
    whose truth is known.
    """
    weights = [gamma ** (len(flows) - 1 - i) for i in range(len(flows))]
    total = known.sum().clamp_min(1)
    terms = [((flow - truth).abs().sum(-1) * known).sum() / total for flow in flows]
    return sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)


def confidence_loss(logits: Sequence[Tensor], visible: Tensor, known: Tensor) -> Tensor:
    """Mean over iterations of the binary cross-entropy of [P, h, w] logits against the share of a
    cell that the source shows, weighted by `known` [P, h, w].
    """
    total = known.sum().clamp_min(1)
    terms = [
        (F.binary_cross_entropy_with_logits(one, visible, reduction="none") * known).sum() / total
        for one in logits
    ]
    return torch.stack(terms).mean()


def warp_loss(xy: Tensor, source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """|| mask * (target - warp(source)) ||^2, the mean over pixels and channels: Leffa's loss
    (arXiv 2412.08486, equation 5) on the aligner's flow, where no true flow is known.

    xy: [P, h, w, 2]. source, target: [P, 3, H, W]. mask: [P, 1, H, W].
    """
    fine, _ = on_grid(xy, torch.ones_like(xy[..., 0]), tuple(target.shape[-2:]))
    return (mask * (target - moved(source, fine))).square().mean()


def likely_visible(xy: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """How much the warped source looks like the target, exp(-d^2 / 0.08) with d the cell's mean
    colour difference of pictures in -1..1: what the confidence learns where no true visibility is
    known (our design). xy: [P, h, w, 2]; source, target: [P, 3, H, W]. Returns [P, h, w], 0..1.
    """
    grid = tuple(xy.shape[1:3])
    fine, _ = on_grid(xy, torch.ones_like(xy[..., 0]), tuple(target.shape[-2:]))
    far = (target - moved(source, fine)).abs().mean(1, keepdim=True)
    return torch.exp(-F.adaptive_avg_pool2d(far, grid).square() / 0.08).squeeze(1)
