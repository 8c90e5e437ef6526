"""What pose guidance did, as a plot over the steps: for the eye."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .pose_guidance import GuidanceReport

SIZE, SMALL = (640, 360), (320, 180)
INK, PAPER, QUIET = (30, 31, 36), (232, 232, 228), (90, 92, 100)
CURVES = (  # of what is recorded: its name, how it is called, its colour
    ("keypoint_error", "joints off, heights", (250, 196, 60)),
    ("field", "from valid poses, torsos", (90, 170, 255)),
    ("change", "change of the latent", (235, 110, 160)),
)


def plot(report: GuidanceReport) -> Tensor:
    """[1, 360, 640, 3], 0..1: three curves over the steps, means over pictures, each on a scale of
    its own whose top is written beside its name; a mark where a change was clipped or skipped.
    """
    return torch.from_numpy(np.array(_drawn(report, SIZE))).float().div(255).unsqueeze(0)


def small_plot(report: GuidanceReport) -> Image.Image:
    """The same for a preview while the sampler runs."""
    return _drawn(report, SMALL)


def _drawn(report: GuidanceReport, size: tuple[int, int]) -> Image.Image:
    canvas = Image.new("RGB", size, INK)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(max(11, size[1] // 22))
    line = round(1.5 * font.size)
    left, top, right, bottom = 12, 3 * line + 16, size[0] - 12, size[1] - line - 8
    pen.rectangle((left, top, right, bottom), outline=QUIET)
    numbers = sorted({one.index for one in report.steps})
    if not numbers:
        pen.text((left + 8, top + 8), "nothing was done", PAPER, font)
        return canvas
    first, last = numbers[0], max(numbers[-1], numbers[0] + 1)

    def across(index: int) -> float:
        return left + 8 + (index - first) / (last - first) * (right - left - 16)

    for row, (name, called, colour) in enumerate(CURVES):
        values = {n: _mean(report, n, name) for n in numbers}
        known = {n: v for n, v in values.items() if math.isfinite(v)}
        most = max(known.values(), default=0.0) or 1.0
        points = [
            (across(n), bottom - 6 - v / most * (bottom - top - 12)) for n, v in known.items()
        ]
        if len(points) > 1:
            pen.line([xy for point in points for xy in point], fill=colour, width=2)
        for x, y in points:
            pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        words = f"{called}: up to {most:.3g}" if known else f"{called}: not known"
        pen.text((left, 8 + row * line), words, colour, font)
    for n in numbers:
        marks = {
            kind
            for one in report.steps
            if one.index == n
            for kind in ("clipped", "skipped")
            if getattr(one, kind)
        }
        if marks:
            pen.text((across(n), top + 4), "/".join(sorted(marks)), PAPER, font, anchor="ma")
    pen.text((left, bottom + 4), f"step {first + 1} to {numbers[-1] + 1}", PAPER, font)
    return canvas


def _mean(report: GuidanceReport, index: int, name: str) -> float:
    values = [getattr(one, name) for one in report.steps if one.index == index and not one.skipped]
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
