"""The pictures of the help pages of Face Encoder and of the two crop nodes, from rendered people.

`python -m mannequin.lab.help_pictures_faces` draws them; a face model may be named behind it.
"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..hosts.face_references import encode
from ..hosts.faces import FaceModel, load_face_model
from ..methods.crops import crop_around, paste
from .help_pictures import PAGES, strip
from .people.sets import render_set
from .training.face import WEIGHTS

SEED = 1008
SIZE = 192, 144


def pictures() -> Tensor:
    """Three held-out pictures of one person, [3, 192, 144, 3]."""
    return torch.from_numpy(render_set(SEED, "heldout", *SIZE).image[:3]).float() / 255


def face_encoder_page(model: FaceModel) -> Image.Image:
    """What it found in three pictures, and what it cut out."""
    given = pictures()
    made, _ = encode(model, given)
    tiles: dict[str, Image.Image | Tensor] = {}
    for k, (picture, crop) in enumerate(zip(given, made.pictures, strict=True), 1):
        large = Image.fromarray((picture.numpy() * 255).astype("uint8")).resize((288, 384))
        (face,) = model.find(picture)
        ImageDraw.Draw(large).rectangle([n * 2 for n in face.window], outline=(250, 196, 60))
        tiles[f"reference {k}"] = large
        tiles[f"crop {k}"] = crop
    return strip(tiles)


def crop_pages(model: FaceModel) -> tuple[Image.Image, Image.Image]:
    """Cropping around a found face; pasting back a close-up that was painted over."""
    picture = pictures()[:1]
    (face,) = model.find(picture[0])
    mask = (face.mask > 0.5).float()
    masked = torch.lerp(picture[0], torch.tensor([0.9, 0.2, 0.5]), 0.6 * mask.unsqueeze(-1))
    close, hole, crop = crop_around(picture, mask, 64, 0.6)
    first = strip(
        {
            "picture and mask": masked,
            "image": close[0],
            "mask": hole[0, ..., None].expand(-1, -1, 3),
        }
    )
    painted = torch.lerp(close, close.flip(-1), 0.8)
    out = paste(crop, painted, 3)
    changed = (out != picture).any(-1)[0, ..., None].float().expand(-1, -1, 3)
    second = strip(
        {
            "the picture": picture[0],
            "painted (colours swapped)": painted[0],
            "pasted, feather 3": out[0],
            "changed pixels": changed,
        }
    )
    return first, second


def draw(face_file: Path) -> None:
    """Writes one picture per help page."""
    model = load_face_model(face_file)
    first, second = crop_pages(model)
    pages = {"face_encoder": face_encoder_page(model), "mask_crop": first, "paste_crop": second}
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in pages.items():
        picture.save(PAGES / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
