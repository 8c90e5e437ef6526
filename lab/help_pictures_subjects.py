"""The pictures of the help pages of Subject, MoA Router and Route Preview, from runs of the
workflows (`lab/help_pictures.sh`).
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps

from .help_pictures import PAGES, given, strip
from .pictures import newest, read

MORPHS, STRENGTHS = ("0", "0.5", "1"), ("0.25", "0.5", "1")
MODES = ("people", "layers", "time")
TILE = (256, 192)


def subject_page(runs: Path) -> Image.Image:
    """Two people, and somebody between them."""
    tiles = {"faces": given("portrait_a")}
    for morph in MORPHS:
        tiles[f"morph {morph}"] = read(newest(runs / f"morph_{morph}", "subject_morph"))
    return strip({**tiles, "morph_into": given("portrait_c")})


def moa_router_page(runs: Path) -> Image.Image:
    """The same seed at three strengths."""
    tiles = {"woman": given("portrait_a"), "man": given("portrait_b")}
    for strength in STRENGTHS:
        found = newest(runs / f"people_{strength}", "two_people_one_scene")
        tiles[f"strength {strength}"] = read(found)
    return strip(tiles)


def route_preview_page(runs: Path) -> Image.Image:
    """The three modes on one run."""
    sheet = Image.new("RGB", (TILE[0] * len(MODES), TILE[1]), "black")
    for place, mode in enumerate(MODES):
        shown = Image.open(newest(runs / f"routes_{mode}" / "previews", "preview")).convert("RGB")
        sheet.paste(ImageOps.pad(shown, TILE, Image.NEAREST), (place * TILE[0], 0))
    return sheet


def write(runs: Path) -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, page in (
        ("subject", subject_page),
        ("moa_router", moa_router_page),
        ("route_preview", route_preview_page),
    ):
        page(runs).save(PAGES / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: lab/help_pictures.sh")
    write(Path(sys.argv[1]))
