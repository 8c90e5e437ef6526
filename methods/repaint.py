"""From a picture, a mask and a target pose to what the generator is fed besides the noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .framing import fit_mask, fit_picture, same_proportions
from .person import (
    FEATURES,
    check_dense_pose,
    dense_pose_channels,
    generator_concat,
    latent_mask,
)

GREY = 0.5
MOST = 256


@dataclass(frozen=True)
class Area:
    """dense_pose: [B, H, W, 3], 0..1. picture: [B, H, W, 3], 0..1, or None when all is new.
    mask: [B, H, W], 1 where the picture is repainted, or None for everywhere.
    """

    dense_pose: Tensor
    picture: Tensor | None = None
    mask: Tensor | None = None


def area(
    dense_pose: Tensor,
    picture: Tensor | None = None,
    garment_mask: Tensor | None = None,
    hand_mask: Tensor | None = None,
    multiple: int = 1,
    kind: str = FEATURES,
) -> Area:
    """Brings what the artist gives to one size and one batch.

    dense_pose, picture: [1 or B, H', W', 3 or 4], 0..1. Masks: [1 or B, H', W'], 0..1; the hand
    mask is taken out of the garment mask, or out of everything. The picture's size counts, or the
    dense pose's without one, cropped at the right and bottom to a multiple of `multiple`. Others
    must have the same proportions and are scaled. kind: of the dense pose, see `person`. Raises
    ValueError for what does not fit, and for more than 256x256 cells of that many pixels:
    attention over them would take hours.
    """
    dense_pose = dense_pose[..., :3]
    if picture is None and (garment_mask is not None or hand_mask is not None):
        raise ValueError(
            "A mask says which part of a picture is repainted, but there is no picture. Connect "
            "the person input, or take the masks off."
        )
    frame = dense_pose if picture is None else picture[..., :3]
    height, width = frame.shape[1:3]
    h, w = _whole_cells(height, width, multiple)
    check_dense_pose(dense_pose, kind)
    if not same_proportions(tuple(dense_pose.shape[1:3]), (height, width)):
        raise ValueError(
            f"Expected a dense pose with the proportions of the person picture, {width}x{height}; "
            f"got {dense_pose.shape[2]}x{dense_pose.shape[1]}. Render it for this picture."
        )
    masks = [
        None if mask is None else fit_mask(mask, frame, name)
        for mask, name in ((garment_mask, "garment mask"), (hand_mask, "hand-protect mask"))
    ]
    mask = masks[0]
    if masks[1] is not None:
        mask = (1 - masks[1]) * (1 if mask is None else mask)
    b = max(len(dense_pose), len(frame))
    parts = {"dense_pose": fit_picture(dense_pose, height, width, exact=True)}
    parts |= {} if picture is None else {"picture": frame}
    parts |= {} if mask is None else {"mask": mask}
    return Area(**{name: _batch(t[:, :h, :w], b, name) for name, t in parts.items()})


def _whole_cells(height: int, width: int, side: int) -> tuple[int, int]:
    """The size cropped to whole cells of side x side pixels; at least 1, at most MOST^2 of them."""
    h, w = height // side * side, width // side * side
    if not h or not w:
        raise ValueError(
            f"Expected a picture of at least {side}x{side} pixels; got {width}x{height}. Give a "
            "larger one."
        )
    if h * w > (MOST * side) ** 2:
        raise ValueError(
            f"Expected a picture of at most {MOST * side}x{MOST * side} pixels, or as many in "
            f"other proportions; got {width}x{height}. Scale it down, and its masks and dense pose "
            "with it (the dense pose without blending)."
        )
    return h, w


def _batch(x: Tensor, count: int, name: str) -> Tensor:
    if len(x) not in (1, count):
        raise ValueError(
            f"Expected 1 or {count} in the batch of {name.replace('_', ' ')}s; got {len(x)}. Make "
            "the batches equally long, or give one for all."
        )
    return x.expand(count, *x.shape[1:])


def condition(
    area: Area, encode: Callable[[Tensor], Tensor], scale: float, kind: str = FEATURES
) -> tuple[Tensor, dict[str, Any]]:
    """The generator's extra channels [B, 1 + C + D, h, w] and the latent to start from.

    encode: pictures [B, H, W, 3] to unscaled latents [B, C, h, w]. scale: of the latents that the
    model sees. kind: of the dense pose, see `person`. What is repainted is grey in the masked
    picture. The latent holds unscaled `samples` (0 where no picture is given) and, with a mask,
    `noise_mask` [B, 1, h, w], 1 in the cells to repaint.
    """
    grey = torch.full_like(area.dense_pose, GREY)
    picture = grey if area.picture is None else area.picture
    repainted = torch.ones_like(grey[..., 0]) if area.mask is None else area.mask
    if kind != FEATURES:
        repainted = (repainted >= 0.5).to(repainted)  # as in the published code
    masked = encode(torch.lerp(picture, grey, repainted.unsqueeze(-1)))
    grid = tuple(masked.shape[-2:])
    cells = latent_mask(repainted, grid, kind).to(masked)
    pose = dense_pose_channels(area.dense_pose, grid, kind).to(masked)
    latent: dict[str, Any] = {
        "samples": torch.zeros_like(masked) if area.picture is None else encode(picture)
    }
    if area.mask is not None:
        latent["noise_mask"] = cells
    return generator_concat(cells, masked * scale, pose), latent
