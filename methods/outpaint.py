"""The body around hands that are there already: the outpainted region grows from step to step.

arXiv 2403.10731 says in its abstract that the region expands sequentially over the denoising steps
while the latents of both stages are fused. Kernel, curve, stop and the free border are our design:
z = M_k * noised(hand latent) + (1 - M_k) * z_body, where the region M_k that is kept starts as the
hand and some of its surroundings, shrinks to the hand until `stop`, and to its core afterwards, so
that the last steps paint the seam and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .crops import Crop, paste, resample
from .hand_pose import HandPoses
from .site import Method, Step

CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda p: p,
    "smooth": lambda p: p * p * (3 - 2 * p),
    "early": lambda p: p**0.5,
    "late": lambda p: p * p,
}


@dataclass(frozen=True)
class Growth:
    """grow: pixels by which the kept region is larger than the hand at first. curve: one of CURVES,
    how it shrinks. stop: progress, 0..1, at which it has shrunk to the hand. border: pixels of the
    hand along its edge that are painted anew after `stop`.
    """

    grow: float = 12.0
    curve: str = "smooth"
    stop: float = 0.7
    border: float = 2.0

    def radius(self, progress: float) -> float:
        """Pixels by which the kept region is larger (or, below 0, smaller) than the hand."""
        if progress < self.stop:
            return self.grow * (1 - CURVES[self.curve](progress / self.stop))
        return -self.border


def widened(region: Tensor, radius: float) -> Tensor:
    """A region [..., 1, h, w], 0..1, dilated by a square of radius cells, or eroded below 0.

    Between whole numbers it is the mean of both neighbours, so that it moves evenly. The frame's
    edge is no edge of the region. Radius 0 gives the region itself.
    """
    if radius == 0:
        return region
    if radius < 0:
        return 1 - widened(1 - region, -radius)
    whole = int(radius)
    less, more = (
        F.max_pool2d(region, 2 * r + 1, 1, r) if r else region for r in (whole, whole + 1)
    )
    return torch.lerp(less, more, radius - whole)


class GrowingOutpaint(Method):
    """Changes the denoise mask from step to step; the host blends the latents with it.

    cell: pixels along a latent cell's side. With nothing kept (a mask of ones), or no growth and no
    border, it is as if it were not there.
    """

    def __init__(self, growth: Growth, cell: int) -> None:
        self.growth, self.cell = growth, cell

    def mask(self, mask: Tensor, step: Step) -> Tensor:
        radius = self.growth.radius(step.progress) / self.cell
        return mask if radius == 0 else 1 - widened(1 - mask, radius)


@dataclass(frozen=True)
class Canvas:
    """image: [B, H, W, 3], 0..1, the hands in their places. mask: [B, H, W], 0..1, 1 where the
    body is to be painted, 0 on the hands.
    """

    image: Tensor
    mask: Tensor


def in_picture(close: Tensor, window: tuple[int, int, int], height: int, width: int) -> Tensor:
    """A close-up's mask [S, S] in its picture, [height, width]; 0 around the close-up."""
    left, top, side = window
    unit = side / close.shape[-1]
    view = (-left, -top, width - left, height - top)
    view = tuple(n / unit + 1 for n in view)  # the close-up gets a border of one pixel of nothing
    return resample(F.pad(close, (1, 1, 1, 1)), view, height, width).clamp(0, 1)


def compose(
    canvas: Tensor, poses: HandPoses, pictures: Tensor, masks: Tensor, grow: float = 0.0
) -> Canvas:
    """Hands in their places on a canvas, with as much of their surroundings as is kept at first.

    canvas: [1 or B, H, W, 3], 0..1. pictures: [N, S, S, 3] and masks: [N, S, S], one for each hand
    of `poses`. grow: pixels of surroundings. Where hands overlap, a later one is in front; no
    surroundings cover a hand. Raises ValueError when the numbers or sizes do not match.
    """
    count, size = len(poses.hands), (poses.height, poses.width)
    if count and (len(pictures) != count or len(masks) != count):
        raise ValueError(
            f"Expected a picture and a mask for each of {count} hand(s); got {len(pictures)} "
            f"picture(s) and {len(masks)} mask(s). Connect what Hand Stage made of these hands."
        )
    if tuple(canvas.shape[1:3]) != size or len(canvas) not in (1, poses.pictures):
        raise ValueError(
            f"Expected {poses.pictures} canvas(es) of {size[1]}x{size[0]} pixels, as the hands; "
            f"got {len(canvas)} of {canvas.shape[2]}x{canvas.shape[1]}. Give Hand Pose the same "
            "width and height, or this picture."
        )
    image = canvas[..., :3].expand(poses.pictures, *size, 3).clone()
    kept = image.new_zeros(poses.pictures, *size)
    tight = [
        in_picture(mask.to(image), hand.window, *size)
        for mask, hand in zip(masks[:count], poses.hands, strict=True)
    ]
    for region in ([widened(one[None, None], grow)[0, 0] for one in tight], tight):
        for one, picture, hand in zip(region, pictures[:count], poses.hands, strict=True):
            k = slice(hand.picture, hand.picture + 1)
            crop = Crop(image[k], one[None], (hand.window,), pictures.shape[1])
            image[k] = paste(crop, picture[None].to(image))
    for one, hand in zip(tight, poses.hands, strict=True):
        kept[hand.picture] = torch.maximum(kept[hand.picture], one)
    return Canvas(image, 1 - kept)


def filmstrip(canvas: Canvas, growth: Growth, moments: Sequence[float]) -> Tensor:
    """What is kept at some moments (progress, 0..1), side by side, [1, H, len(moments) * W, 3]:
    of the first picture, its kept region as it is, the rest dark.
    """
    image, keep = canvas.image[:1], 1 - canvas.mask[:1, None]
    frames = []
    for moment in moments:
        kept = widened(keep, growth.radius(moment)).movedim(1, -1)
        frames.append(image * (0.2 + 0.8 * kept))
    return torch.cat(frames, 2)
