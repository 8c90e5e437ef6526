"""Flow fields of a sampling run: where in which reference every pixel came from.

Positions are normalised to the reference picture's edges: -1 is its left or top edge, 1 its right
or bottom edge, so the centre of pixel i of W lies at (2 i + 1) / W - 1 (`grid_sample` with
align_corners=False). They do not depend on the size of any picture.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class FlowField:
    """Flow from a sample to R references.

    xy: [B, R, h, w, 2], the position in reference r, -1..1. confidence: [B, R, h, w], 0..1, how
    far the model looked there and nowhere else.
    """

    xy: Tensor
    confidence: Tensor

    def __post_init__(self):
        if self.xy.ndim != 5 or self.xy.shape[-1] != 2:
            raise ValueError(f"flow must be [B, R, h, w, 2]; got {tuple(self.xy.shape)}")
        if self.confidence.shape != self.xy.shape[:-1]:
            raise ValueError(
                f"confidence must be [B, R, h, w] = {tuple(self.xy.shape[:-1])}; "
                f"got {tuple(self.confidence.shape)}"
            )


def identity(height: int, width: int, like: Tensor) -> Tensor:
    """The positions of the pixel centres themselves [height, width, 2], -1..1."""
    y = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    x = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)


def resize(field: FlowField, height: int, width: int) -> FlowField:
    """Bilinear to another grid; positions are clamped to the reference.

    The displacement is what is interpolated, so that a translation stays one up to the border.
    """
    b, r, h, w, _ = field.xy.shape
    if (h, w) == (height, width):
        return field
    shift = (field.xy - identity(h, w, field.xy)).reshape(b * r, h, w, 2).movedim(-1, 1)
    shift = F.interpolate(shift, (height, width), mode="bilinear", align_corners=False)
    xy = shift.movedim(1, -1).reshape(b, r, height, width, 2) + identity(height, width, field.xy)
    confidence = F.interpolate(
        field.confidence, (height, width), mode="bilinear", align_corners=False
    )
    return FlowField(xy.clamp(-1, 1), confidence.clamp(0, 1))


def warp(images: Tensor, xy: Tensor) -> Tensor:
    """Fetches pictures at positions, bilinear, differentiable in both.

    images: [N, H', W', C], or one picture [1, H', W', C] for all. xy: [N, H, W, 2], -1..1; outside
    lies the picture's border. Returns [N, H, W, C].
    """
    images = images.expand(len(xy), -1, -1, -1).movedim(-1, 1)
    out = F.grid_sample(images, xy, mode="bilinear", padding_mode="border", align_corners=False)
    return out.movedim(1, -1)
