"""Scenes with one to three people, put together from portraits before one backdrop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .backdrop import Backdrop, draw_backdrop, sample_backdrop

HEIGHT, WIDTH = 64, 128
MOST = 3
SHARES = (0.25, 0.5, 0.25)  # of scenes with one, two and three people
SCALES = ((0.8, 1.0), (0.8, 1.0), (0.68, 0.85))  # of a portrait, by number of people


@dataclass(frozen=True)
class Plan:
    """Who stands where: portraits left to right, their side, left edge and which is in front."""

    portraits: tuple[int, ...]
    sides: tuple[int, ...]
    lefts: tuple[int, ...]
    depth: tuple[int, ...]  # indices, the farthest first
    place: Backdrop


def plan_scene(rng: np.random.Generator, draw: Sequence[int]) -> Plan:
    """Plans a scene of the portraits in `draw` (one to three, left to right)."""
    count = len(draw)
    if not 1 <= count <= MOST:
        raise ValueError(f"a scene has 1 to {MOST} people, got {count}.")
    sides, lefts = [], []
    for k in range(count):
        side = round(HEIGHT * rng.uniform(*SCALES[count - 1]))
        middle = (k + 0.5) / count * WIDTH
        spread = WIDTH / 5 if count == 1 else WIDTH / 32
        sides.append(side)
        lefts.append(round(middle + rng.uniform(-spread, spread) - side / 2))
    depth = tuple(int(k) for k in rng.permutation(count))
    return Plan(tuple(draw), tuple(sides), tuple(lefts), depth, sample_backdrop(rng))


def draw_scene(plan: Plan, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Draws a plan with its portraits' images u8 [n, 64, 64, 3] and labels u8 [n, 64, 64].

    Returns the picture u8 [64, 128, 3] and owners u8 [64, 128]: 0 is the backdrop, k the k-th
    person from the left.
    """
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    place = draw_backdrop(plan.place, (xs + 0.5) / WIDTH, (ys + 0.5) / HEIGHT)
    picture = torch.from_numpy(place).float().movedim(-1, 0)
    owner = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    for k in plan.depth:
        side, left = plan.sides[k], plan.lefts[k]
        cover = (labels[k] > 0).float()[None]
        colour = images[k].movedim(-1, 0).float() / 255
        both = torch.cat([colour * cover, cover])[None]
        small = F.interpolate(both, (side, side), mode="bilinear", antialias=True)[0]
        x, top = max(0, -left), HEIGHT - side
        width = min(side, WIDTH - left) - x
        there = (slice(None), slice(top, None), slice(left + x, left + x + width))
        colour, cover = small[:3, :, x : x + width], small[3:, :, x : x + width]
        picture[there] = picture[there] * (1 - cover) + colour
        owner[there[1:]][cover[0] > 0.5] = k + 1
    return (picture.movedim(0, -1) * 255).round().clamp(0, 255).to(torch.uint8), owner
