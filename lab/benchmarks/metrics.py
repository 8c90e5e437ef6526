"""Figures of merit against exact ground truth. Pictures are [B, H, W, 3] in 0..1."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GARMENT_LABELS = (3, 4)


def garment(label: Tensor) -> Tensor:
    """Pixels of tops and bottoms, [B, H, W] bool."""
    return torch.isin(label, torch.tensor(GARMENT_LABELS))


def psnr(out: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean over pictures of the PSNR in dB on the pixels `where` [B, H, W]; empty ones left out."""
    values = [
        -10 * math.log10(max((o[m] - t[m]).square().mean().item(), 1e-10))
        for o, t, m in zip(out, truth, where, strict=True)
        if m.any()
    ]
    return sum(values) / max(len(values), 1)


def _blur(x: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    taps = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
    taps = (taps / taps.sum()).to(x)
    channels = x.shape[1]
    x = F.pad(x, (radius,) * 4, mode="reflect")
    x = F.conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def ssim(out: Tensor, truth: Tensor, where: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window sigma 1.5, grey, over `where`."""
    x, y = (p.mean(-1, keepdim=True).movedim(-1, 1) for p in (out, truth))
    mx, my = _blur(x, 1.5), _blur(y, 1.5)
    vx = _blur(x * x, 1.5) - mx * mx
    vy = _blur(y * y, 1.5) - my * my
    cov = _blur(x * y, 1.5) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return _mean_over_pictures(value[:, 0], where)


def detail_correlation(out: Tensor, truth: Tensor, where: Tensor) -> float:
    """Correlation of what a Gaussian of 2 px takes away, over `where`: do patterns stand where
    they should? 1 is perfect, 0 unrelated.
    """
    values = []
    high = [p - _blur(p.movedim(-1, 1), 2.0).movedim(1, -1) for p in (out, truth)]
    for o, t, m in zip(*high, where, strict=True):
        if m.any():
            a, b = o[m].flatten(), t[m].flatten()
            a, b = a - a.mean(), b - b.mean()
            values.append((a @ b / (a.norm() * b.norm()).clamp_min(1e-8)).item())
    return sum(values) / max(len(values), 1)


def flow_epe(xy: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean end-point error in pixels of the picture; xy, truth [B, H, W, 2] in -1..1."""
    h, w = truth.shape[1:3]
    error = ((xy - truth) * torch.tensor([w / 2, h / 2])).norm(dim=-1)
    return _mean_over_pictures(torch.nan_to_num(error), where & torch.isfinite(truth).all(-1))


def _mean_over_pictures(value: Tensor, where: Tensor) -> float:
    values = [v[m].mean().item() for v, m in zip(value, where, strict=True) if m.any()]
    return sum(values) / max(len(values), 1)


def nearest_iuv_warp(source: Tensor, source_pose: Tensor, target_pose: Tensor) -> Tensor:
    """The answer without learning: each target pixel takes the source pixel of the same part with
    the nearest UV; where the part is not seen, and in the background, the source's own pixel.

    All [H, W, 3]; poses as in `methods/person.py`, 0..1.
    """
    flat = source.flatten(0, 1)
    places = []
    for pose in (source_pose, target_pose):
        level = (pose * 255).round().flatten(0, 1)
        places.append(torch.cat([level[:, :1] * 100, level[:, 1:]], 1))
    at_source, at_target = places
    seen = torch.nonzero(at_source[:, 0] > 0)[:, 0]
    out = flat.clone()
    for part in at_target[:, 0].unique():
        rows = torch.nonzero(at_target[:, 0] == part)[:, 0]
        candidates = seen[at_source[seen, 0] == part]
        if part == 0 or not len(candidates):
            continue
        near = torch.cdist(at_target[rows, 1:], at_source[candidates, 1:]).argmin(1)
        out[rows] = flat[candidates[near]]
    return out.view_as(source)
