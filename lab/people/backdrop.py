"""Simple places to stand in: gradients, wall and floor, soft shapes, panels, a window."""

import colorsys
from dataclasses import dataclass

import numpy as np

KINDS = ("gradient", "wall and floor", "soft shapes", "panels", "window", "plain")


@dataclass(frozen=True)
class Backdrop:
    """A background and its light; colours are RGB 0..1, places are shares of the picture."""

    kind: str
    colours: np.ndarray  # [3, 3]
    numbers: np.ndarray  # [12] in 0..1
    light: np.ndarray  # [3] unit vector towards the main light


def sample_backdrop(rng: np.random.Generator) -> Backdrop:
    hue, value = rng.random(), rng.uniform(0.35, 0.9)
    colours = np.array(
        [
            colorsys.hsv_to_rgb(
                (hue + rng.normal(0, 0.12)) % 1,
                rng.uniform(0.03, 0.45),
                np.clip(value + rng.normal(0, 0.16), 0.15, 0.97),
            )
            for _ in range(3)
        ]
    )
    light = np.array([rng.uniform(-0.6, 0.6), -1, rng.uniform(0.2, 0.8)])
    return Backdrop(
        KINDS[rng.choice(len(KINDS), p=(0.25, 0.25, 0.2, 0.1, 0.12, 0.08))],
        colours,
        rng.random(12),
        light / np.linalg.norm(light),
    )


def draw_backdrop(place: Backdrop, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours [..., 3] at positions x, y [...]: 0 is the left or top edge, 1 the other."""
    x, y = x[..., None], y[..., None]
    first, second, third = place.colours
    n = place.numbers
    shade = 1 + 0.12 * (n[0] - 0.5) * (2 * x - 1) + 0.1 * (n[1] - 0.5) * (2 * y - 1)
    if place.kind == "gradient":
        t = np.clip(x * (n[2] - 0.5) + y * n[3] + 0.3 * n[4], 0, 1)
        out = first * (1 - t) + second * t
    elif place.kind == "wall and floor":
        line = 0.62 + 0.28 * n[2] + 0.08 * (n[3] - 0.5) * (x - 0.5)
        out = np.where(y < line, first, np.where(y < line + 0.018, third, second))
    elif place.kind == "soft shapes":
        out = first + 0 * x
        for i in range(3):
            near = ((x - n[3 * i + 2]) ** 2 + (1.33 * (y - n[3 * i + 3])) ** 2) / (
                0.1 + 0.2 * n[3 * i + 4]
            ) ** 2
            out = out + 0.6 * (place.colours[(i + 1) % 3] - out) * np.exp(-near)
    elif place.kind == "panels":
        t = (x * (2 + 3 * n[2]) + n[3]) % 1 < 0.5
        out = np.where(t, first, 0.6 * first + 0.4 * second)
    elif place.kind == "window":
        left, top = 0.02 + 0.55 * n[2], 0.04 + 0.2 * n[3]
        dx, dy = (x - left) / 0.36, (y - top) / 0.4
        glass = (dx > 0) & (dx < 1) & (dy > 0) & (dy < 1)
        frame = glass & (
            (dx < 0.07) | (dx > 0.93) | (dy < 0.06) | (dy > 0.94) | (np.abs(dx - 0.5) < 0.035)
        )
        out = np.where(
            frame, third, np.where(glass, np.clip(second * (1.25 - 0.3 * dy), 0, 1), first)
        )
    else:
        out = first + 0 * x
    return np.clip(out * shade, 0, 1)
