"""Thumbnails of the workflows and the README's pictures, from pictures that runs really made.

`lab/pictures.sh` makes the runs and calls this with their folders: one with the examples, one with
a photograph as the reference.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from .benchmarks.sheet import contact_sheet

ROOT = Path(__file__).parents[1]
INPUTS = ROOT / "workflows" / "inputs"
DOCS = ROOT / "docs"
WORKFLOWS = {
    "pose_transfer": ("person_a", "person_a_target_pose"),
    "try_on": ("person_b", "garment_c"),
    "two_references": ("person_a", "person_a_second", "person_a_target_pose"),
}
POSES = {
    "pose_transfer_aligned": ("person_a", "person_a_target_pose"),
    "pose_guidance": ("person_a", "person_a_target_pose"),
    "pose_sheet": ("person_a",),
}
# What goes in, before the result; a picture and its mask are shown as a picture with a hole.
Given = str | tuple[str, str]
PAINTED: dict[str, tuple[Given, ...]] = {
    "inpaint_with_words": (("portrait_a", "portrait_a_face_mask"),),
    "face_inpaint": (("pair_ab", "pair_ab_mask_a"), "portrait_a_second"),
    "face_edit": (("portrait_a", "portrait_a_face_mask"), "portrait_a_second"),
    "personalize_face": (("pair_ab", "pair_ab_mask_a"), "portrait_a_second"),
    "two_people_one_scene": ("portrait_a", "portrait_b"),
    "subject_morph": ("portrait_a", "portrait_c"),
    "swap_subject": (("scene_ab", "scene_ab_mask_a"), "portrait_c"),
    "hands_then_body": (),
    "hand_repair": ("person_c_broken_hands",),
    "try_on_hands": (("person_c", "person_c_arms_mask"), "garment_c"),
}
# Their weights are the user's: the thumbnail shows what goes in, and an empty frame.
BRING = {
    "leffa_pose_transfer": ("person_a",),
    "leffa_try_on": ("person_b", "garment_c"),
    "reference_attention_sd15": ("photograph",),
    "moa_with_controlnet": ("portrait_a", "portrait_b", "scene_ab"),
}
FRAME, GREY, LINE, HIGH = (96, 128), 48, 110, 192
TRUTH = {"pose_transfer": "person_a_target", "try_on": "person_b_target"}


def saved(runs: Path, prefix: str) -> list[Path]:
    """What a Save Image node of this prefix wrote, the last picture last."""
    found = sorted(p for p in runs.glob(f"{prefix}_*.png") if p.name.rsplit("_", 2)[0] == prefix)
    if not found:
        raise SystemExit(f"No {prefix}_*.png in {runs}: run lab/pictures.sh.")
    return found


def newest(runs: Path, prefix: str) -> Path:
    """The last of them."""
    return saved(runs, prefix)[-1]


def read(path: Path) -> Tensor:
    """[H, W, 3], 0..1"""
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255)


def thumbnail(name: str, runs: Path) -> Image.Image:
    """Inputs and, last, the result, side by side."""
    paths = [INPUTS / f"{given}.png" for given in WORKFLOWS[name]]
    result = newest(runs, f"{name}_detail")
    return contact_sheet(
        {"": torch.stack([read(p) for p in [*paths, result]])},
        per_row=len(paths) + 1,
        margin=0,
    )


def posed(name: str, runs: Path) -> Image.Image:
    """Inputs and results, five in a row."""
    found = saved(runs, f"{name}_detail" if name == "pose_transfer_aligned" else name)
    results = found[-9:] if name == "pose_sheet" else found[-1:]
    tiles = [read(path) for path in [*(INPUTS / f"{one}.png" for one in POSES[name]), *results]]
    return contact_sheet({"": torch.stack(tiles)}, per_row=min(5, len(tiles)), margin=0)


def hole(picture: str, mask: str) -> Image.Image:
    """An input with grey where its mask is white."""
    shown, where = (Image.open(INPUTS / f"{name}.png") for name in (picture, mask))
    grey = Image.new("RGB", shown.size, (2 * LINE,) * 3)
    return Image.composite(grey, shown.convert("RGB"), where.convert("L"))


def painted(name: str, runs: Path) -> Image.Image:
    """Inputs and the result, equally high."""
    tiles = [
        hole(*given) if isinstance(given, tuple) else Image.open(INPUTS / f"{given}.png")
        for given in PAINTED[name]
    ]
    tiles = [
        tile.convert("RGB").resize((tile.width * HIGH // tile.height, HIGH), Image.NEAREST)
        for tile in (*tiles, Image.open(newest(runs, name)))
    ]
    sheet = Image.new("RGB", (sum(tile.width for tile in tiles), HIGH))
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width
    return sheet


def brought(name: str) -> Image.Image:
    """The inputs of a workflow that needs the user's weights, and a framed question mark."""
    tiles = [Image.open(INPUTS / f"{given}.png").convert("RGB") for given in BRING[name]]
    sheet = Image.new("RGB", (FRAME[0] * (len(tiles) + 1), FRAME[1]), (GREY,) * 3)
    for place, tile in enumerate(tiles):
        sheet.paste(ImageOps.fit(tile, FRAME, Image.LANCZOS), (place * FRAME[0], 0))
    draw = ImageDraw.Draw(sheet)
    left = len(tiles) * FRAME[0]
    draw.rectangle((left + 8, 8, left + FRAME[0] - 9, FRAME[1] - 9), outline=(LINE,) * 3)
    middle = (left + FRAME[0] / 2, FRAME[1] / 2)
    draw.text(middle, "?", fill=(2 * LINE,) * 3, font=ImageFont.load_default(48), anchor="mm")
    return sheet


def write_brought() -> None:
    """The thumbnails that need no run."""
    for name in BRING:
        brought(name).save(ROOT / "workflows" / f"{name}.jpg", quality=90)


def demo(runs: Path) -> Image.Image:
    """The two workflows of the demo, with every stage and the truth."""
    rows = {}
    for name, truth in TRUTH.items():
        results = [newest(runs, prefix) for prefix in (name, f"{name}_detail")]
        paths = [INPUTS / f"{given}.png" for given in WORKFLOWS[name]]
        tiles = [*paths, *results, INPUTS / f"{truth}.png"]
        rows[name] = torch.stack([read(p) for p in tiles])
    return contact_sheet(rows, per_row=5)


def photograph(runs: Path) -> Image.Image:
    """The photograph, and what each workflow makes of it: the sample, and with detail."""
    given = Image.open(INPUTS / "photograph.png").convert("RGB").resize((96, 128), Image.LANCZOS)
    first = torch.from_numpy(np.asarray(given).astype(np.float32) / 255)
    rows = {
        name: torch.stack(
            [first, *(read(newest(runs, f"{name}{kind}")) for kind in ("", "_detail"))]
        )
        for name in WORKFLOWS
    }
    return contact_sheet(rows, per_row=3)


def main(runs: Path, photograph_runs: Path) -> None:
    for names, draw in ((WORKFLOWS, thumbnail), (POSES, posed), (PAINTED, painted)):
        for name in names:
            draw(name, runs).save(ROOT / "workflows" / f"{name}.jpg", quality=90)
    write_brought()
    DOCS.mkdir(exist_ok=True)
    demo(runs).save(DOCS / "demo.jpg", quality=90)
    photograph(photograph_runs).save(DOCS / "photograph.jpg", quality=90)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m mannequin.lab.pictures EXAMPLES PHOTOGRAPH")
    main(*map(Path, sys.argv[1:]))
