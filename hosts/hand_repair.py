"""Hands of an existing picture painted anew: close-up, hand model, and back; our design.

One hand after the other, so that of two hands that touch the second is fitted to the first's new
picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..methods.crops import Crop, paste, resample
from ..methods.framing import fit_mask
from ..methods.hand_pose import HandPoses
from ..methods.outpaint import in_picture
from .hands import HandModel

ON_BONES = 0.04  # sides of a close-up: what is as near to a bone is the old hand's skin


@dataclass(frozen=True)
class Repaired:
    """image: [B, H, W, 3], 0..1. mask: [B, H, W], 0..1, where it was painted. close_ups:
    [N, S, S, 3], what was painted of each hand.
    """

    image: Tensor
    mask: Tensor
    close_ups: Tensor


def repair(
    model: HandModel,
    image: Tensor,
    poses: HandPoses,
    seed: int,
    steps: int,
    guidance: float = 1.0,
    reach: float = 0.12,
    feather: int = 2,
    masks: Tensor | None = None,
    after: Callable[[int], None] = lambda done: None,
) -> Repaired:
    """Paints every hand of `poses` anew, in the colour of the old one; outside its mask the picture
    is bit-identical.

    image: [B, H, W, 3 or 4], 0..1, of the size that `poses` names. reach: how far from its bones a
    hand may be, in sides of its close-up. feather: as in `crops.paste`. masks: [N, H, W], 0..1, in
    place of `reach`, one for each hand. after(done) is called after each step of each hand and may
    raise. Raises ValueError for another size, number of pictures or number of masks.
    """
    out = image[..., :3].clone()
    size, count = (poses.height, poses.width), len(poses.hands)
    if count and (tuple(out.shape[1:3]) != size or len(out) != poses.pictures):
        raise ValueError(
            f"Expected {poses.pictures} picture(s) of {size[1]}x{size[0]} pixels, as the hands; "
            f"got {len(out)} of {out.shape[2]}x{out.shape[1]}. Connect this picture to Hand Pose."
        )
    if masks is not None:
        masks = masks.unsqueeze(0) if masks.ndim == 2 else masks
        if count and len(masks) != count:
            raise ValueError(
                f"Expected a mask for each of {count} hand(s); got {len(masks)}. Make as many, or "
                "take the masks off."
            )
        height, width = out.shape[1:3]
        masks = fit_mask(masks.to(out), out[:1].expand(len(masks), height, width, 3), "mask")
    painted, closes = torch.zeros_like(out[..., 0]), []
    for k, hand in enumerate(poses.hands):
        alone = replace(poses, hands=(hand,))
        left, top, side = hand.window
        if masks is None:
            region = alone.regions(model.size, reach)
            own = in_picture(region[0].to(out), hand.window, *size)
        else:
            own = masks[k]
            view = (left, top, left + side, top + side)
            region = (resample(own, view, model.size, model.size) > 0).float()[None]
        made = model.paint(
            alone,
            (seed + k) % 2**64,
            steps,
            guidance,
            skin_along(image[..., :3], alone, model.size),
            seen=alone.crops(out, model.size),
            regions=region,
            after=lambda index, x0, before=k * steps: after(before + index + 1),
        )
        which = slice(hand.picture, hand.picture + 1)
        crop = Crop(out[which], own[None], (hand.window,), model.size)
        out[which] = paste(crop, made.pictures.to(out), feather)
        painted[hand.picture] = torch.maximum(painted[hand.picture], own)
        closes.append(made.pictures[0])
    shown = torch.stack(closes) if closes else torch.zeros(0, model.size, model.size, 3)
    return Repaired(out, painted, shown)


def skin_along(image: Tensor, poses: HandPoses, side: int) -> Tensor | None:
    """The median colour [3] of pictures [B, H, W, 3] along the bones of the only hand: however it
    is broken, most of what lies there is skin. None where too few points are known for a bone.
    """
    on_bones = poses.crops(image, side)[0][poses.regions(side, ON_BONES)[0] > 0]
    return on_bones.median(0).values if len(on_bones) else None
