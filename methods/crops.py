"""Square close-ups around a mask, and back: what is outside the mask stays as it was, bit by bit.

Our design; used for faces and for hands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .framing import fit_mask

Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """Where N close-ups lie in their pictures.

    image: [B, H, W, 3], 0..1, the pictures as they were. mask: [N, H, W], 0..1, of each close-up.
    Close-up k belongs to picture k, or all belong to the only one. windows: left, top and side of
    each square in whole pixels of the picture, which it may leave. size: side of the close-ups.
    """

    image: Tensor
    mask: Tensor
    windows: tuple[tuple[int, int, int], ...]
    size: int


def resample(picture: Tensor, window: Window, height: int, width: int) -> Tensor:
    """What a window shows, scaled to a size.

    picture: [..., H, W]. window: left, top, right, bottom in pixels, whole numbers or not; beyond
    the picture its border goes on. Returns [..., height, width]: linear between pixels, and means
    of all that a pixel covers when made smaller. A window of its own size in whole pixels is
    copied exactly.
    """
    left, top, right, bottom = window
    rows = _weights(top, bottom, height, picture.shape[-2]).to(picture)
    columns = _weights(left, right, width, picture.shape[-1]).to(picture)
    return rows @ picture @ columns.mT


def _weights(start: float, end: float, count: int, length: int) -> Tensor:
    """How much each of `length` pixels gives to each of `count` places, [count, length]."""
    step = (end - start) / count
    reach = max(1.0, step)
    middle = start + (torch.arange(count, dtype=torch.float64) + 0.5) * step
    taps = math.ceil(2 * reach) + 1
    pixel = (middle - reach).floor()[:, None] + torch.arange(taps, dtype=torch.float64)
    share = (1 - (pixel + 0.5 - middle[:, None]).abs() / reach).clamp_min(0)
    share = share / share.sum(1, keepdim=True)
    at = pixel.clamp(0, length - 1).long()
    return torch.zeros(count, length, dtype=torch.float64).scatter_add_(1, at, share).float()


def crop_around(
    image: Tensor, mask: Tensor, size: int, padding: float
) -> tuple[Tensor, Tensor, Crop]:
    """Close-ups [N, size, size, 3], their masks [N, size, size], and how to put them back.

    image: [B, H, W, 3 or 4], 0..1. mask: [N, H', W'], 0..1, with the picture's proportions: one for
    each picture, one for all, or several for one picture, each of which makes a close-up. The
    square is as large as the box around the mask's non-zero pixels, and `padding` times larger
    (0.6: the framing in which mannequin-tiny-inpaint learned faces); near the picture's edge it is
    moved inside, and where it does not fit the border goes on. Raises ValueError for a mask without
    a hole and for numbers that do not match.
    """
    image = image[..., :3]
    mask = mask.unsqueeze(0) if mask.ndim == 2 else mask
    frames = image.expand(len(mask), *image.shape[1:]) if len(image) == 1 else image
    mask = fit_mask(mask.to(image), frames, "mask")
    windows = tuple(_window(one, padding, k, len(mask)) for k, one in enumerate(mask))
    pictures, masks = [], []
    for picture, one, (left, top, side) in zip(frames, mask, windows, strict=True):
        window = (left, top, left + side, top + side)
        pictures.append(resample(picture.movedim(-1, 0), window, size, size).movedim(0, -1))
        masks.append(resample(one, window, size, size))
    crop = Crop(image, mask, windows, size)
    return torch.stack(pictures).clamp(0, 1), torch.stack(masks).clamp(0, 1), crop


def _window(mask: Tensor, padding: float, k: int, count: int) -> tuple[int, int, int]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    if not len(rows):
        which = f"Mask {k + 1} of {count}" if count > 1 else "The mask"
        raise ValueError(
            f"{which} has no hole: expected 1 where the picture is to be repainted; it is 0 "
            "everywhere. Draw on the picture (right click, Open in MaskEditor), or leave this "
            "mask out."
        )
    low = [int(n.min()) for n in (columns, rows)]
    high = [int(n.max()) + 1 for n in (columns, rows)]
    side = math.ceil(max(b - a for a, b in zip(low, high, strict=True)) * (1 + padding))
    out = []
    for a, b, length in zip(low, high, (mask.shape[1], mask.shape[0]), strict=True):
        start = math.floor((a + b - side) / 2)
        inside = min(max(start, 0), length - side)
        out.append(inside if side <= length else (length - side) // 2)
    return out[0], out[1], side


def paste(crop: Crop, painted: Tensor, feather: int = 0, mask: Tensor | None = None) -> Tensor:
    """Puts painted close-ups back into their pictures, [B, H, W, 3].

    painted: [N, S, S, 3], squares of any size in the crop's order. feather: pixels of the picture
    over which the painting fades in, counted inwards from the mask's edge. mask: [N, H, W] to use
    instead of the crop's own. Outside the mask the pictures are bit-identical. Raises ValueError
    for another number of close-ups and for what is not square.
    """
    painted = painted[..., :3]
    count = len(crop.windows)
    if len(painted) != count:
        raise ValueError(
            f"Expected {count} painted close-up(s), one for each mask; got {len(painted)}. Connect "
            "the pictures that were made from this crop, all of them."
        )
    if painted.shape[1] != painted.shape[2]:
        raise ValueError(
            f"Expected square close-ups; got {painted.shape[2]}x{painted.shape[1]}. Connect what "
            "was painted on the crop's own picture."
        )
    mask = crop.mask if mask is None else mask
    out = crop.image.clone()
    height, width = out.shape[1:3]
    for k, (left, top, side) in enumerate(crop.windows):
        target = out[k % len(out)]
        window = (left, top, left + side, top + side)
        box = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
        there = slice(box[1], box[3]), slice(box[0], box[2])
        grown = max(0, box[0] - 1), max(0, box[1] - 1)  # one pixel more, to see where it ends
        weight = fade(mask[k, grown[1] : box[3] + 1, grown[0] : box[2] + 1], feather)
        weight = weight[box[1] - grown[1] :, box[0] - grown[0] :]
        weight = weight[: box[3] - box[1], : box[2] - box[0]].to(target).unsqueeze(-1)
        scale = painted.shape[1] / side
        part = tuple((n - o) * scale for n, o in zip(box, window[:2] * 2, strict=True))
        h, w = weight.shape[:2]
        new = resample(painted[k].to(target).movedim(-1, 0), part, h, w).movedim(0, -1).clamp(0, 1)
        old = target[there]
        target[there] = torch.where(weight > 0, torch.lerp(old, new, weight), old)
    return out


def fade(mask: Tensor, pixels: int) -> Tensor:
    """A mask [H, W] that rises over some pixels inwards from its edge, never beyond it.

    The mean of the mask and of 1 to `pixels` erosions of it, brought back to the mask's own height
    where it is too thin for all of them. The picture's edge is no edge of the mask.
    """
    least, total = mask[None, None], mask.clone()
    for _ in range(pixels):
        least = -F.max_pool2d(-least, 3, 1, 1)
        total += least[0, 0]
    return total * (mask.max() / total.max().clamp_min(1e-12))
