"""A small face-embedding network: what makes two pictures of one person alike.

Our design: a residual network for 64x64 crops, trained on synthetic people only, so that nothing
non-commercial is needed. Any other embedding can take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

CROP = 64


class _Block(nn.Module):
    """Halves the picture and doubles what is known of it."""

    def __init__(self, before: int, after: int, operations: Any) -> None:
        super().__init__()
        self.first = operations.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.norm1 = operations.GroupNorm(8, after)
        self.second = operations.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = operations.GroupNorm(8, after)
        self.short = operations.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.second(F.silu(self.norm1(self.first(x)))))
        return F.silu(h + self.short(F.avg_pool2d(x, 2)))


class FaceNet(nn.Module):
    """picture [B, 3, 64, 64] -1..1 -> embedding [B, dimension], not normalised.

    widths: channels at 64, 32, 16, 8 and 4 pixels, multiples of 8. Other sizes are resized.
    operations: where the layers come from, PyTorch or the host.
    """

    def __init__(self, widths: Sequence[int], dimension: int, operations: Any = nn) -> None:
        super().__init__()
        self.enter = operations.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(_Block(a, b, operations) for a, b in pairwise(widths))
        self.leave = operations.Linear(widths[-1] * (CROP >> (len(widths) - 1)) ** 2, dimension)

    def forward(self, picture: Tensor) -> Tensor:
        if picture.shape[-2:] != (CROP, CROP):
            picture = F.interpolate(picture, (CROP, CROP), mode="bilinear", antialias=True)
        h = F.silu(self.enter(picture))
        for block in self.blocks:
            h = block(h)
        return self.leave(h.flatten(1))
