"""Synthetic people as a folder of pictures and truth that anybody can open."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from .body import PARTS
from .crops import KINDS
from .masks import MASKS, mask
from .paint import LABELS
from .recipe import VERSION, stream
from .sets import PersonSet, render_set
from .sheet import PALETTE, contact_sheet, sheet_row


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Writes u8 [H, W, 3], a mask bool [H, W], or labels u8 [H, W] as a palette picture."""
    if pixels.dtype == bool:
        picture = Image.fromarray(pixels.astype(np.uint8) * 255)
    elif pixels.ndim == 2:
        picture = Image.fromarray(pixels, "P")
        picture.putpalette(PALETTE.tobytes())
    else:
        picture = Image.fromarray(pixels)
    picture.save(path, optimize=True)


def _truth(person: PersonSet, seed: int, split: str) -> dict:
    height, width = person.label.shape[1:]
    truth = {
        "seed": seed,
        "split": split,
        "version": VERSION,
        "height": height,
        "width": width,
        "labels": LABELS,
        "parts": ("background", *PARTS),
        "attributes": person.attributes,
        "captions": person.captions,
        "keypoints": person.keypoints.tolist(),
        "hands": person.hands.tolist(),
    }
    if person.crops is not None:
        truth["crops"] = {
            "kinds": KINDS,
            "window": person.crops.window.tolist(),
            "keypoints": person.crops.keypoints.tolist(),
            "hands": person.crops.hands.tolist(),
        }
    return truth


def write_set(folder: Path, person: PersonSet, seed: int, split: str) -> None:
    """Writes one set; the folder appears only when it is whole."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for k in range(len(person.image)):
        save_png(unfinished / f"{k}_image.png", person.image[k])
        save_png(unfinished / f"{k}_iuv.png", person.dense_pose[k])
        save_png(unfinished / f"{k}_label.png", person.label[k])
        for name in MASKS:
            save_png(unfinished / f"{k}_mask_{name}.png", mask(person.label[k], name))
        if person.crops is not None:
            for c, kind in enumerate(KINDS):
                stem = f"{k}_{kind.replace(' ', '_')}"
                save_png(unfinished / f"{stem}_image.png", person.crops.image[k, c])
                save_png(unfinished / f"{stem}_iuv.png", person.crops.dense_pose[k, c])
                save_png(unfinished / f"{stem}_label.png", person.crops.label[k, c])
    np.savez_compressed(
        unfinished / "flow.npz", pairs=person.pairs, flow=person.flow, visible=person.visible
    )
    truth = json.dumps(_truth(person, seed, split), indent=1)
    (unfinished / "truth.json").write_text(truth, encoding="utf-8")
    unfinished.rename(folder)


def render_folder(
    out: Path,
    count: int,
    seed: int,
    split: str = "train",
    height: int = 128,
    width: int = 96,
    crops: bool = True,
) -> list[Path]:
    """Renders `count` sets from `seed` on into `out`, one folder per set, and a contact sheet.

    A set's folder holds, for each of its four pictures, image, dense pose, labels (palette PNG),
    masks and, with `crops`, close-ups of face and hands; truth.json with keypoints, captions and
    attributes; flow.npz with pairs [12, 2], flow [12, H, W, 2] and visible [12, H, W].  Sets that
    are already there are left alone.  Raises ValueError for a bad split, seed, count or size.
    """
    stream(split, seed)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a whole number of 1 or more, got {count!r}")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder to write the pictures into")
    folders, rows = [], []
    for one in track(range(seed, seed + count), description="Rendering people"):
        folder = out / f"{split}_{one:06d}"
        person = render_set(one, split, height, width, crops=crops)
        if not folder.exists():
            write_set(folder, person, one, split)
        rows.append(sheet_row(person))
        folders.append(folder)
    save_png(out / "sheet.png", contact_sheet(rows))
    return folders
