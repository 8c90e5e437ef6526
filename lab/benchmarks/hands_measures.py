"""What the hand benchmark measures in pictures: seams, detail kept, masks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...methods.outpaint import widened

EDGE = 0.08  # slope of the blurred mask above which a pixel belongs to its border


def seam_energy(pictures: Tensor, masks: Tensor, where: Tensor | None = None) -> Tensor:
    """Gradient across the mask's border over gradient along it, [B]; NaN without a border.

    pictures: [B, H, W, 3], 0..1. masks: [B, H, W], 0..1. Means of the absolute slope of the
    brightness over the pixels where the blurred mask is steep, and `where` [B, H, W] is not 0: a
    hand's outline is an edge of the picture as well, and only where hand and arm meet is every
    edge a seam.
    """
    soft = F.avg_pool2d(F.pad(masks[:, None], (2, 2, 2, 2), mode="replicate"), 5, 1)[:, 0]
    normal = slopes(soft)
    steep = normal.norm(dim=-1)
    unit = normal / steep.clamp_min(1e-6).unsqueeze(-1)
    light = slopes(pictures.mean(-1))
    across = (light * unit).sum(-1).abs()
    along = (light * torch.stack([-unit[..., 1], unit[..., 0]], -1)).sum(-1).abs()
    border = (steep > EDGE).float()
    border = border if where is None else border * (where > 0)
    count = border.sum((1, 2))
    return (across * border).sum((1, 2)) / (along * border).sum((1, 2)).where(count > 0, torch.nan)


def slopes(x: Tensor) -> Tensor:
    """Central differences of [B, H, W], [B, H, W, 2] (x, y); the border goes on."""
    padded = F.pad(x[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return torch.stack([across, down], -1)


def core_psnr(pictures: Tensor, kept: Tensor, masks: Tensor, margin: float) -> Tensor:
    """PSNR [B] in dB of pictures against what was to be kept, where the mask eroded by `margin`
    pixels is 1; NaN where nothing is. Pictures: [B, H, W, 3], 0..1; masks [B, H, W].
    """
    core = (widened((masks >= 0.5).float()[:, None], -margin)[:, 0] >= 1).float()
    error = ((pictures - kept).square().mean(-1) * core).sum((1, 2)) / core.sum((1, 2))
    return -10 * error.clamp_min(1e-10).log10()


def iou(found: Tensor, truth: Tensor) -> Tensor:
    """Shared over joint area of masks [B, H, W], from a half on, [B]."""
    a, b = found >= 0.5, truth >= 0.5
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp_min(1)
