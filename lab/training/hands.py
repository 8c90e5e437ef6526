"""`mannequin train hands`: the hand generator on somebody's own pictures with keypoints.

FOLDER/NAME.png (.jpg, .webp) with FOLDER/NAME.json, what Hand Pose reads: OpenPose's JSON, or
{"hands": [{"side": "left", "points": [[x, y], ...]}]}. A hand's mask may lie beside it:
NAME.mask.png for the only hand of a picture, or NAME.mask1.png, NAME.mask2.png in the order of the
JSON; without one, the mask is what is near the hand's bones. FOLDER/consent.txt says who agreed to
what.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...hosts import weights
from ...hosts.hands import HANDS, HandNet, load_hand_model
from ...methods.crops import resample
from ...methods.hand_pose import HandPoses, read
from .hands_data import HandPool, right_hands
from .hands_tiny import WEIGHTS, HandLoss, export, heldout_loss
from .loop import Schedule, Trainer
from .pva_folder import CONSENT, first_line, open_picture, pictures_in

log = logging.getLogger("mannequin")

SEED, STEPS, RATE, FEWEST = 7, 2000, 1e-4, 8
REACH = 0.08  # sides of a close-up: how far from its bones a hand without a mask reaches
MASK = ".mask"


def read_hands(folder: Path, size: int) -> HandPool:
    """The close-ups of a folder, of size x size pixels. Raises ValueError when there are fewer than
    FEWEST hands, and for what cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder. Expected pictures, each with a .json beside it."
        )
    parts: dict[str, list[Tensor]] = {"image": [], "mask": [], "points": [], "left": []}
    lonely = []
    for path in pictures_in(folder):
        if MASK in path.name:
            continue
        told = path.with_suffix(".json")
        if not told.is_file():
            lonely.append(path.name)
            continue
        picture = open_picture(path)
        try:
            poses = read(told.read_text(encoding="utf-8"), *picture.shape[:2])
        except ValueError as error:
            raise ValueError(f"{told}: {error}") from error
        for number, hand in enumerate(poses.hands, 1):
            alone = HandPoses((hand,), poses.height, poses.width)
            parts["image"].append(alone.crops(picture[None], size)[0].mul(255).round().byte())
            parts["mask"].append(_mask(path, number, alone, size))
            parts["points"].append(hand.inside(size))
            parts["left"].append(torch.tensor(hand.left))
    if lonely:
        log.warning("%d picture(s) without a .json are left out: %s", len(lonely), lonely[:5])
    if len(parts["image"]) < FEWEST:
        raise ValueError(
            f"{folder}: expected at least {FEWEST} hands to learn from; got {len(parts['image'])}. "
            "Give more pictures, each with its keypoints in a .json of its name."
        )
    return right_hands(*(torch.stack(parts[name]) for name in ("image", "mask", "points", "left")))


def _mask(path: Path, number: int, alone: HandPoses, size: int) -> Tensor:
    """The hand's mask [size, size], 0 or 1, u8: from its file, or around its bones."""
    names = [f"{path.stem}{MASK}{number}.png", *([f"{path.stem}{MASK}.png"] if number == 1 else [])]
    file = next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)
    if file is None:
        return alone.regions(size, REACH)[0].byte()
    with Image.open(file) as opened:
        grey = opened.convert("L")
    if grey.size != (alone.width, alone.height):
        raise ValueError(
            f"{file}: expected a mask of {alone.width}x{alone.height} pixels, as its picture; got "
            f"{grey.width}x{grey.height}. Save it at the picture's size."
        )
    whole = torch.from_numpy(np.array(grey)).float()
    left, top, side = alone.hands[0].window
    close = resample(whole / 255, (left, top, left + side, top + side), size, size)
    return (close >= 0.5).byte()


def run(folder: Path, base: Path, out: Path, checkpoint: Path, steps: int, rate: float) -> None:
    """Trains on from `base` and writes `out`; goes on from its checkpoint."""
    config, _ = weights.read_kind(base, HANDS)
    model = load_hand_model(base)
    pool = read_hands(folder, model.size)
    torch.manual_seed(SEED)
    net = HandNet(**config["net"])
    net.load_state_dict(model.net.state_dict())
    trainer = Trainer({"net": net}, Schedule(steps, rate, decay=0.5), checkpoint, SEED)
    loss = HandLoss(net, model.vae, pool)
    before = heldout_loss(loss, pool, min(len(pool), 32))
    trainer.run(loss)
    averaged = trainer.averaged()["net"]
    net.load_state_dict(averaged)
    after = heldout_loss(loss, pool, min(len(pool), 32))
    print(json.dumps({"hands": len(pool), "before": before, "after": after}), flush=True)
    provenance = {
        "made_by": "mannequin train hands",
        "base": base.name,
        "hands": len(pool),
        "consent": first_line(folder / CONSENT) or f"no {CONSENT}",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    export(out, config, averaged, model.vae, provenance)


def main(arguments: list[str]) -> None:
    """Trains on a folder. Interrupted, it goes on where it was."""
    parser = argparse.ArgumentParser("mannequin train hands", description=__doc__)
    parser.add_argument("folder", type=Path, help="pictures, each with a .json beside it")
    parser.add_argument("--base", type=Path, default=WEIGHTS, help="the hand model to start from")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rate", type=float, default=RATE)
    options = parser.parse_args(arguments)
    checkpoint = options.out.with_suffix(".training")
    run(options.folder, options.base, options.out, checkpoint, options.steps, options.rate)
