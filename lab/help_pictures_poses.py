"""The pictures of the pose nodes' help pages, from runs of the workflows (`lab/help_pictures.sh`).

Pose Keypoints and Pose Check need none: keypoints are drawn, and compared with the same ones after
a wrist has moved.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..methods import pose_check, pose_view
from ..methods.hand_pose import read
from .help_pictures import INPUTS, PAGES, given, strip
from .pictures import newest
from .pictures import read as picture_of

HEIGHT, WIDTH = 128, 96
WRIST = 4
ITERATIONS, SCALES = (1, 3), ("0", "0.5", "1", "4")
WIDE = 560


def keypoints(name: str) -> str:
    return (INPUTS / f"{name}.json").read_text(encoding="utf-8")


def pose_keypoints_page() -> Image.Image:
    """Six of the nine example poses."""
    drawn = read(keypoints("person_a_nine_poses"), HEIGHT * 3, WIDTH * 3).drawing()
    return strip({f"frame {k}": picture for k, picture in enumerate(drawn[:6], 1)})


def pose_check_page() -> Image.Image:
    """A picture against its own joints, and against a pose with another arm."""
    picture = given("person_a_target")[None]
    (bodies,) = pose_check.people(keypoints("person_a_target_pose"), HEIGHT, WIDTH)
    moved = bodies.clone()
    moved[:, WRIST, :2] += torch.tensor([10.0, 22.0])
    tiles: dict[str, Image.Image | Tensor] = {"the picture": picture[0]}
    for caption, target in (("the pose asked for", bodies), ("another wrist", moved)):
        result = pose_check.check(target, bodies, HEIGHT, WIDTH)
        tiles[caption] = pose_view.overlay(picture, result)[0]
    return strip(tiles)


def recurrent_pose_aligner_page(runs: Path) -> Image.Image:
    """The same seed without the aligner, after one and after three iterations."""
    tiles: dict[str, Image.Image | Tensor] = {
        "the reference": given("person_a"),
        "the pose": given("person_a_target_pose"),
        "no aligner": picture_of(newest(runs / "scale_0", "pose_guidance")),
    }
    for count in ITERATIONS:
        found = newest(runs / f"iterations_{count}", "pose_transfer_aligned")
        tiles[f"iterations {count}"] = picture_of(found)
    return strip({**tiles, "the truth": given("person_a_target")})


def pose_guidance_page(runs: Path) -> Image.Image:
    """The same seed, pulled harder and harder."""
    tiles = {"the pose": given("person_a_target_pose")}
    for scale in SCALES:
        tiles[f"scale {scale}"] = picture_of(newest(runs / f"scale_{scale}", "pose_guidance"))
    return strip({**tiles, "the truth": given("person_a_target")})


def preview_page(runs: Path) -> Image.Image:
    """What the first preview node of a run shows."""
    picture = Image.open(sorted((runs / "previews").glob("preview_*.png"))[0]).convert("RGB")
    return picture.resize((WIDE, picture.height * WIDE // picture.width), Image.LANCZOS)


def write(runs: Path) -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("recurrent_pose_aligner", recurrent_pose_aligner_page(runs)),
        ("alignment_preview", preview_page(runs / "iterations_3")),
        ("pose_guidance", pose_guidance_page(runs)),
        ("guidance_preview", preview_page(runs / "scale_1")),
        ("pose_keypoints", pose_keypoints_page()),
        ("pose_check", pose_check_page()),
    ):
        picture.save(PAGES / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: lab/help_pictures.sh")
    write(Path(sys.argv[1]))
