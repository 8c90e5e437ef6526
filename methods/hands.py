"""Hands first: a picture of a hand and its mask, denoised together (arXiv 2403.10731).

The paper's abstract says that a hand generator is trained with several tasks and gives the hand and
its segmentation. Channels, weights and code of the mask are our design where the paper is silent:
the mask's latent is the mask itself at half resolution, four values a cell, beside the picture's
latent; the network predicts both from both.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 2  # values of the mask along one side of a latent cell
MASK_CHANNELS = CELLS * CELLS

Predict = Callable[[Tensor, float], Tensor]


def encode_mask(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """A mask [B, H, W], 0..1, as latent [B, 4, h, w], -1..1: the share of each quarter cell."""
    h, w = grid
    small = F.adaptive_avg_pool2d(mask.unsqueeze(1), (h * CELLS, w * CELLS))
    return F.pixel_unshuffle(small, CELLS) * 2 - 1


def decode_mask(latent: Tensor, height: int, width: int) -> Tensor:
    """Back to [B, H, W], 0..1, linear between the quarter cells; 0.5 is the hand's edge."""
    small = (F.pixel_shuffle(latent, CELLS) + 1) / 2
    large = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return large[:, 0].clamp(0, 1)


def joint_loss(
    out: Tensor,
    target: Tensor,
    weight: Tensor,
    noise: Tensor,
    share: float = 0.5,
    floor: float = 0.05,
) -> dict[str, Tensor]:
    """MSE(picture) + share * MSE(mask), of the predicted clean latents.

    out, target: [B, C + 4, h, w], the picture's channels first. weight: [B, 1, h, w], >= 0, of the
    cells. noise: [B], the share of noise in the variance, 0..1; each row counts 1 / (noise +
    floor), as a network that predicts x0 wants it. Returns "total", "picture" and "mask".
    """
    error = (out - target).square() * weight / (noise.view(-1, 1, 1, 1) + floor)
    error = error.sum((0, 2, 3)) / weight.sum()
    picture, mask = error[:-MASK_CHANNELS].mean(), error[-MASK_CHANNELS:].mean()
    return {"total": picture + share * mask, "picture": picture, "mask": mask}


def generate(
    predict: Predict,
    noise: Tensor,
    sigmas: Sequence[float],
    after: Callable[[int, Tensor], None] = lambda index, x0: None,
) -> Tensor:
    """Deterministic sampling (DDIM, Song et al. 2021, eta 0) of the joint latent.

    predict(x, sigma) tells the clean latent of x = x0 + sigma * noise. noise: [B, C + 4, h, w],
    standard normal. sigmas: descending, the last 0. after(index, x0) is called after each step and
    may raise. Returns x0.
    """
    x = noise * (sigmas[0] ** 2 + 1) ** 0.5
    for index, (now, then) in enumerate(pairwise(sigmas)):
        x0 = predict(x, now)
        x = x0 + (x - x0) * (then / now)
        after(index, x0)
    return x


def skin_of(pictures: Tensor, masks: Tensor) -> Tensor:
    """The mean colour under each mask and whether it is known, [B, 4].

    pictures: [B, 3, H, W], -1..1. masks: [B, H, W], 0..1. Colours are -1..1; a row whose mask is
    empty is 0, 0, 0, 0: unknown.
    """
    total = masks.sum((1, 2))
    mean = (pictures * masks.unsqueeze(1)).sum((2, 3)) / total.clamp_min(1e-6).unsqueeze(1)
    known = (total > 0).to(mean).unsqueeze(1)
    return torch.cat([mean * known, known], 1)
