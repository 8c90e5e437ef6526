"""What a person model is fed besides the noise: the dense pose and the repaint mask.

The layout of the generator's input is the published Leffa's: noisy latent, mask, latent of the
masked picture, dense pose. Models differ in the dense pose they were trained with:

- "iuv-features", the tiny family: RGB with R = 10 x part index, G = U, B = V (0..255, here / 255),
  encoded by us (lab note: pooled one-hot parts and Fourier features of UV bring the flow error from
  3.2 to 2.0 px at 64x48).
- "rgb", the published try-on: DensePose's drawing of the parts, as it is, in -1..1.
- "iuv", the published pose transfer: R = V, G = U in 0..255, B = part index 0..24, each in -1..1.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PARTS = 16
PART_STEP = 10
FREQUENCIES = (1, 2, 4)
DENSE_POSE_CHANNELS = PARTS + 4 * len(FREQUENCIES)
FEATURES, DRAWING, IUV = "iuv-features", "rgb", "iuv"
IUV_PARTS = 24


def check_dense_pose(iuv: Tensor, kind: str = FEATURES) -> None:
    """Raises ValueError unless `iuv` [B, H, W, 3], 0..1, is a dense pose picture of that kind.

    "iuv-features": at least 98% of the pixels must have a red value that is a multiple of 10
    between 0 and 160, and background pixels must be black. "iuv": as many must have a blue value
    of 0 to 24. A drawing ("rgb") can be any picture.
    """
    if iuv.ndim != 4 or iuv.shape[-1] != 3:
        raise ValueError(
            f"A dense pose is a picture [B, H, W, 3]; got a tensor of shape {tuple(iuv.shape)}. "
            "Connect a Load Image node with an IUV picture."
        )
    if kind == DRAWING:
        return
    level = (iuv * 255).round()
    if kind == IUV:
        valid = level[..., 2] <= IUV_PARTS
        wanted = "red = V, green = U, blue = part index (0 to 24)"
    else:
        part = level[..., 0] / PART_STEP
        valid = (part == part.round()) & (part <= PARTS)
        valid &= (part > 0) | (level[..., 1:].amax(-1) == 0)
        wanted = "red = 10 x part index (0 to 16), green = U, blue = V, black background"
    share = valid.float().mean().item()
    if share < 0.98:
        raise ValueError(
            f"This picture is not a dense pose: expected {wanted}; only {share:.0%} of the pixels "
            "fit what this model was trained with. Use a lossless PNG made by a dense pose "
            "renderer, not resized and not a photograph."
        )


def dense_pose_channels(iuv: Tensor, grid: tuple[int, int], kind: str) -> Tensor:
    """A dense pose picture [B, H, W, 3], 0..1, as a model of that kind eats it [B, D, h, w]."""
    if kind == FEATURES:
        return encode_dense_pose(iuv, grid)
    small = F.interpolate(iuv.movedim(-1, 1), grid, mode="nearest")
    if kind == IUV:
        small = small * small.new_tensor([1, 1, 255 / IUV_PARTS]).reshape(1, 3, 1, 1)
    return small * 2 - 1


def encode_dense_pose(iuv: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pools a dense pose picture of the tiny family to the latent grid (our design).

    iuv: [B, H, W, 3], 0..1. grid: (h, w). Returns [B, 28, h, w]: the share of each of 16 parts in
    a cell, then sin and cos of 2 pi f (U, V) for f in 1, 2, 4, averaged over the cell with the
    background counting as zero. A black picture (no dense pose known) gives zeros.
    """
    level = (iuv * 255).round()
    part = (level[..., 0] / PART_STEP).round().long().clamp(0, PARTS)
    onehot = F.one_hot(part, PARTS + 1)[..., 1:].movedim(-1, 1).to(iuv)
    person = (part > 0).to(iuv).unsqueeze(1)
    uv = level[..., 1:].movedim(-1, 1) / 255
    waves = [
        wave(2 * math.pi * f * uv) * person for f in FREQUENCIES for wave in (torch.sin, torch.cos)
    ]
    return F.adaptive_avg_pool2d(torch.cat([onehot, *waves], 1), grid)


def generator_concat(mask: Tensor, masked: Tensor, dense_pose: Tensor) -> Tensor:
    """The channels beside the noisy latent, in the published order: mask, masked, dense pose.

    mask [B, 1, h, w] (1 = repaint), masked [B, C, h, w], dense_pose [B, D, h, w].
    """
    return torch.cat([mask, masked, dense_pose], 1)


def latent_mask(mask: Tensor, grid: tuple[int, int], kind: str = FEATURES) -> Tensor:
    """A picture's repaint mask [B, H, W] on the latent grid [B, 1, h, w]: any touched cell is 1.

    Published models: the nearest pixel, 1 from a half on, as in the published code.
    """
    if kind != FEATURES:
        return F.interpolate((mask >= 0.5).to(mask).unsqueeze(1), grid, mode="nearest")
    return (F.adaptive_max_pool2d(mask.unsqueeze(1), grid) > 0).to(mask)
