"""What an imperfect dense pose estimator makes of a true dense pose."""

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT, UV_BIAS, UV_WOBBLE = 0.7, 1.0, 1.5


def degrade_dense_pose(iuv: Tensor, generator: torch.Generator) -> Tensor:
    """A dense pose as an imperfect estimator gives it: [B, H, W, 3] uint8 -> the same.

    Moves it by smooth noise of 0.7 px, loses small blocks, and adds to U and V a bias per part and
    a coarse wobble, of standard deviations 1 and 1.5 of 255 (our model of estimators' errors).
    """
    b, h, w, _ = iuv.shape
    shift = torch.randn(b, 2, 5, 4, generator=generator) * SHIFT
    shift = F.interpolate(shift, (h, w), mode="bicubic").movedim(1, -1)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    at_x = (x + shift[..., 0]).round().long().clamp(0, w - 1)
    at_y = (y + shift[..., 1]).round().long().clamp(0, h - 1)
    moved = iuv[torch.arange(b)[:, None, None], at_y, at_x]
    part = (moved[..., :1] // 10).long()
    bias = torch.randn(b, 17, 2, generator=generator) * UV_BIAS
    bias = bias[torch.arange(b)[:, None, None], part[..., 0]]
    wobble = F.interpolate(torch.randn(b, 2, 16, 12, generator=generator) * UV_WOBBLE, (h, w))
    uv = (moved[..., 1:].float() + bias + wobble.movedim(1, -1)).round().clamp(0, 255)
    holes = F.interpolate((torch.rand(b, 1, 16, 12, generator=generator) < 0.03).float(), (h, w))
    keep = (holes[:, 0] == 0).unsqueeze(-1) & (part > 0)
    return torch.cat([moved[..., :1], uv.to(torch.uint8)], -1) * keep
