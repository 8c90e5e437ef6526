"""Letters, words, numbers and signs for the chest of a top, as little alpha pictures."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = (
    "A",
    "B",
    "E",
    "F",
    "G",
    "H",
    "K",
    "M",
    "N",
    "P",
    "R",
    "S",
    "T",
    "W",
    "X",
    "Z",
    "4",
    "7",
    "9",
    "23",
    "42",
    "GO",
    "NY",
    "UP",
    "OK",
    "HI",
    "ART",
)
SIGNS = ("star", "heart", "ring", "triangle", "bolt", "cross", "moon", "diamond")
PRINTS = LETTERS + SIGNS
_SIZE = 128


def _sign(draw: ImageDraw.ImageDraw, name: str) -> None:
    s = _SIZE
    if name == "star":
        turns = np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2, 0.22, 0.5) * s
        draw.polygon(
            [
                (s / 2 + r * np.sin(t), s / 2 - r * np.cos(t))
                for r, t in zip(reach, turns, strict=True)
            ],
            255,
        )
    elif name == "heart":
        t = np.linspace(0, 2 * np.pi, 80)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        draw.polygon(
            [(s / 2 + a * s / 36, s / 2 - b * s / 36) for a, b in zip(x, y, strict=True)], 255
        )
    elif name == "ring":
        draw.ellipse((4, 4, s - 4, s - 4), 255)
        draw.ellipse((s * 0.28, s * 0.28, s * 0.72, s * 0.72), 0)
    elif name == "triangle":
        draw.polygon([(s / 2, 4), (s - 4, s - 8), (4, s - 8)], 255)
    elif name == "bolt":
        draw.polygon(
            [
                (s * 0.62, 0),
                (s * 0.15, s * 0.58),
                (s * 0.47, s * 0.58),
                (s * 0.35, s),
                (s * 0.85, s * 0.38),
                (s * 0.52, s * 0.38),
            ],
            255,
        )
    elif name == "cross":
        draw.rectangle((s * 0.36, 4, s * 0.64, s - 4), 255)
        draw.rectangle((4, s * 0.36, s - 4, s * 0.64), 255)
    elif name == "moon":
        draw.ellipse((4, 4, s - 4, s - 4), 255)
        draw.ellipse((s * 0.34, -s * 0.04, s * 1.18, s * 0.8), 0)
    else:
        draw.polygon([(s / 2, 0), (s * 0.9, s / 2), (s / 2, s), (s * 0.1, s / 2)], 255)


@lru_cache(maxsize=len(PRINTS))
def alpha(name: str) -> np.ndarray:
    """Coverage 0..1 of a print cropped to its ink, [height, width].

    Letters use the font that Pillow carries, thickened, so that every machine draws the same.
    """
    if name not in PRINTS:
        raise ValueError(f"no print named {name!r}; there are {', '.join(PRINTS)}")
    picture = Image.new("L", (_SIZE * 4, _SIZE * 2) if name in LETTERS else (_SIZE, _SIZE))
    draw = ImageDraw.Draw(picture)
    if name in LETTERS:
        draw.text(
            (_SIZE * 2, _SIZE),
            name,
            fill=255,
            stroke_width=7,
            stroke_fill=255,
            anchor="mm",
            font=ImageFont.load_default(_SIZE),
        )
    else:
        _sign(draw, name)
    return np.asarray(picture.crop(picture.getbbox()), np.float64) / 255
