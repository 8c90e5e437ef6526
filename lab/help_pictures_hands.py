"""The pictures of the hand nodes' help pages, painted by what ships and from runs of the workflows
(`lab/help_pictures.sh`).
"""

import sys
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..hosts.hands import load_hand_model
from ..methods.hand_pose import HandPoses, read
from .benchmarks.hands import FILES
from .hand_workflows import HAND_GUIDANCE, HAND_STEPS, SIZE, SKIN
from .help_pictures import INPUTS, PAGES, given, strip
from .help_pictures_poses import preview_page
from .pictures import newest
from .pictures import read as picture_of

SEEDS, CLOSE_UP = (7, 8), 64


def poses(height: int = SIZE[1], width: int = SIZE[0]) -> HandPoses:
    """The example person's hands, by default in the workflows' frame."""
    return read((INPUTS / "person_c_hands.json").read_text(encoding="utf-8"), height, width)


def hand_pose_page() -> Image.Image:
    """A picture, its skeletons, and a close-up and a drawing of each hand."""
    picture = given("person_c_target")
    found = poses(*picture.shape[:2])
    tiles: dict[str, Image.Image | Tensor] = {
        "a picture": picture,
        "its points": found.drawing()[0],
    }
    maps, crops = found.maps(CLOSE_UP), found.crops(picture[None], CLOSE_UP)
    for side, crop, drawn in zip(("left", "right"), crops, maps, strict=True):
        tiles |= {f"the {side} hand": crop, f"its drawing ({side})": drawn}
    return strip(tiles)


def hand_stage_page() -> Image.Image:
    """A hand and its mask, of two seeds."""
    model, found = load_hand_model(FILES[2]), poses()
    skin = [value / 255 for value in bytes.fromhex(SKIN.removeprefix("#"))]
    tiles: dict[str, Image.Image | Tensor] = {"the pose": found.maps(CLOSE_UP)[0]}
    for seed in SEEDS:
        made = model.paint(found, seed, HAND_STEPS, HAND_GUIDANCE, skin)
        tiles[f"a hand, seed {seed}"] = made.pictures[0]
        tiles[f"its mask, seed {seed}"] = made.masks[0].unsqueeze(-1).expand(-1, -1, 3)
    return strip(tiles)


def hand_repair_page(runs: Path) -> Image.Image:
    """A picture with broken hands before and after, and close-ups."""
    broken = given("person_c_broken_hands")
    found = poses(*broken.shape[:2])
    mended = picture_of(newest(runs / "hands", "hand_repair"))
    tiles: dict[str, Image.Image | Tensor] = {"broken hands": broken, "repaired": mended}
    before, after = (found.crops(one[None], 2 * CLOSE_UP) for one in (broken, mended))
    for side, old, new in zip(("left", "right"), before, after, strict=True):
        tiles |= {f"{side} before": old, f"{side} after": new}
    return strip(tiles)


def write(runs: Path) -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("hand_pose", hand_pose_page()),
        ("hand_stage", hand_stage_page()),
        ("outpaint_blender", preview_page(runs / "hands")),
        ("hand_repair", hand_repair_page(runs)),
    ):
        picture.save(PAGES / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: lab/help_pictures.sh")
    write(Path(sys.argv[1]))
