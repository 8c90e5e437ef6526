"""The registry's icon and banner, drawn from our own renderings: `python -m mannequin.lab.artwork`.

Nothing in them is the result of a model: the person, the dense poses and where the
garment belongs are the renderer's exact truth.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .people.examples import SPLIT, TRY_ON
from .people.sets import PersonSet, render_set
from .people.sheet import warp

ROOT = Path(__file__).resolve().parents[1] / "docs"
ICON = 400
BANNER = (1260, 540)
HEIGHT, WIDTH = 768, 576
INK, PAPER, FAINT = (24, 26, 34), (245, 243, 238), (160, 163, 175)


def icon(person: PersonSet) -> Image.Image:
    """Half a person, half the dense pose of that person: ICON x ICON."""
    k = TRY_ON["garment"]
    head = person.dense_pose[k][: HEIGHT // 4].any(-1).nonzero()[1]
    middle = round(head.mean())
    half = min(middle, WIDTH - middle)
    split = person.image[k].copy()
    split[:, middle:] = on_ink(person.dense_pose[k])[:, middle:]
    square = split[: 2 * half, middle - half : middle + half]
    return Image.fromarray(square).resize((ICON, ICON), Image.LANCZOS)


def banner(person: PersonSet) -> Image.Image:
    """The name; a person, a pose, and the first person's top moved into it: BANNER, 21:9."""
    source, target = TRY_ON["garment"], TRY_ON["target"]
    pair = person.pairs.tolist().index([source, target])
    tiles = (person.image[source], on_ink(person.dense_pose[target]), carried(person, pair))
    canvas = Image.new("RGB", BANNER, INK)
    height = BANNER[1]
    width = height * WIDTH // HEIGHT * 2 // 3
    left = BANNER[0] - len(tiles) * width
    for number, tile in enumerate(tiles):
        whole = Image.fromarray(tile).resize((height * WIDTH // HEIGHT, height), Image.LANCZOS)
        margin = (whole.width - width) // 2
        canvas.paste(whole.crop((margin, 0, margin + width, height)), (left + number * width, 0))
    pen = ImageDraw.Draw(canvas)
    pen.text((48, 200), "Mannequin", PAPER, ImageFont.load_default(58), stroke_width=1)
    pen.text((50, 286), "Pose and dress people,", FAINT, ImageFont.load_default(26))
    pen.text((50, 322), "and see where every", FAINT, ImageFont.load_default(26))
    pen.text((50, 358), "pixel was taken from", FAINT, ImageFont.load_default(26))
    return canvas


def on_ink(dense_pose: np.ndarray) -> np.ndarray:
    """A dense pose u8 [H, W, 3] on our dark background instead of black, its parts brighter."""
    body = dense_pose.any(-1, keepdims=True)
    return np.where(body, dense_pose, np.array(INK, np.uint8))


def carried(person: PersonSet, pair: int) -> np.ndarray:
    """The source's own pixels where the exact flow puts them u8 [H, W, 3], and only those seen."""
    source, _ = person.pairs[pair]
    moved = warp(person.image[source], person.flow[pair])
    return np.where(person.visible[pair][..., None], moved, np.array(INK, np.uint8))


def main() -> None:
    person = render_set(TRY_ON["seed"], SPLIT, HEIGHT, WIDTH)
    icon(person).save(ROOT / "icon.png", optimize=True)
    banner(person).save(ROOT / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
