"""The pictures of the pose nodes' help pages: `python -m mannequin.lab.help_pictures_poses`.

They need no weights: keypoints are drawn, and compared with the same ones after a wrist has moved.
"""

import torch
from PIL import Image
from torch import Tensor

from ..methods import pose_check, pose_view
from ..methods.hand_pose import read
from .help_pictures import INPUTS, PAGES, given, strip

HEIGHT, WIDTH = 128, 96
WRIST = 4


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


def write() -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("pose_keypoints", pose_keypoints_page()),
        ("pose_check", pose_check_page()),
    ):
        picture.save(PAGES / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    write()
