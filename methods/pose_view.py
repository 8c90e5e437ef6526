"""A measured pose over the pose that was asked for, and over the picture: for the eye."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from .flow_view import MIN_SIDE, label
from .pose_check import PoseCheck
from .pose_maps import BODY

WANTED, FOUND, FAR = (255, 255, 255), (80, 200, 255), (255, 60, 60)
DIM = 0.6


def overlay(image: Tensor, result: PoseCheck) -> Tensor:
    """Pictures [B, H, W, 3], 0..1 -> [B, H * k, W * k, 3] with at least 512 pixels on the shorter
    side: the wanted pose in white, the measured one in blue, red from each measured point that is
    too far to where it should be, and the figures.
    """
    scale = max(1, math.ceil(MIN_SIDE / min(image.shape[1:3])))
    size = tuple(n * scale for n in image.shape[1:3])
    big = F.interpolate(image.cpu().float().movedim(-1, 1), size, mode="bilinear")
    drawn = []
    for row, picture in enumerate(big.movedim(1, -1)):
        canvas = Image.fromarray((picture.clamp(0, 1) * DIM * 255).round().byte().numpy())
        pen, thin = ImageDraw.Draw(canvas), max(2, min(size) // 110)
        target, measured = (
            torch.cat([points[row, :, :2] * scale, points[row, :, 2:]], 1).cpu()
            for points in (result.target, result.measured)
        )
        _bones(pen, target, WANTED, thin)
        _bones(pen, measured, FOUND, thin)
        for joint in (result.compared & ~result.near)[row].nonzero()[:, 0].tolist():
            ends = (*measured[joint, :2].tolist(), *target[joint, :2].tolist())
            pen.line(ends, fill=FAR, width=thin)
        near, wanted = int(result.near[row].sum()), int(result.wanted[row].sum())
        seen = result.compared[row]
        text = f"PCK@{result.threshold:g} {near} of {wanted}"
        if seen.any():
            text += f", {float(result.distances[row][seen].mean()):.1f} px"
        picture = torch.from_numpy(np.array(canvas)).float() / 255
        drawn.append(label(picture[None], (8, 6), text)[0])
    return torch.stack(drawn)


def _bones(
    pen: ImageDraw.ImageDraw, points: Tensor, colour: tuple[int, int, int], thin: int
) -> None:
    known = (points[:, 2] > 0).tolist()
    at = points[:, :2].tolist()
    for a, b in BODY.bones:
        if known[a] and known[b]:
            pen.line([*at[a], *at[b]], fill=colour, width=thin)
    for (x, y), there in zip(at, known, strict=True):
        if there:
            r = 1.5 * thin
            pen.ellipse([x - r, y - r, x + r, y + r], fill=colour, outline=(0, 0, 0))
