"""`mannequin train face`, its first part: the network that finds faces in a picture.

Masks and windows are learned together from put-together pictures with none to three faces; what
is held out is counted by `evaluate`.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts.face_finder import STRIDE, FaceFinder, find_faces, votes
from .face_scenes import NO_WINDOW, SceneMaker, Scenes
from .inpaint_data import FACE, Pool
from .loop import Schedule, Trainer

STEPS, BATCH, SEED = 2300, 16, 3
WIDTHS = (8, 24, 40, 56)
SIZES = (64, 80, 96, 112)
TOLD = 12  # pixels of a face that is to be found, from brow to chin
SMALLEST, LARGEST = 14.0, 150.0  # sides of the windows that are learned, in pixels


def targets(scenes: Scenes) -> tuple[Tensor, Tensor, Tensor]:
    """Per cell: share of face [B, h, w]; window [B, h, w, 3]; weight of the window [B, h, w].

    A cell has a window where most of it shows one face with a known window of a learned size; the
    weights of each face sum to 1.
    """
    owner = scenes.owner
    share = F.avg_pool2d((owner > 0).float()[:, None], STRIDE)[:, 0]
    name = owner[:, ::STRIDE, ::STRIDE].long()
    known = (name > 0) & (name != NO_WINDOW) & (share > 0.5)
    index = (name - 1).clamp_min(0) * known
    b = torch.arange(len(owner))[:, None, None]
    window = scenes.window[b, index]
    known &= (window[..., 2] >= SMALLEST) & (window[..., 2] <= LARGEST)
    weight = torch.zeros_like(share)
    for k in range(scenes.window.shape[1]):
        own = known & (index == k)
        weight += own / own.sum((1, 2), keepdim=True).clamp_min(1)
    return share, window, weight


def finder_loss(out: Tensor, scenes: Scenes) -> dict[str, Tensor]:
    """Cross-entropy and overlap (Dice) of the mask; distance of the windows in units of their side.

    out [B, 4, h, w] of FaceFinder.
    """
    share, window, weight = targets(scenes)
    mask = F.binary_cross_entropy_with_logits(out[:, 0], share)
    p = out[:, 0].sigmoid()
    overlap = 2 * (p * share).sum((1, 2)) + 1
    dice = 1 - overlap / ((p + share).sum((1, 2)) + 1)
    told = votes(out)
    side = window[..., 2].clamp_min(1)
    away = (told[..., 1:3] - window[..., :2]) / side[..., None]
    grown = (told[..., 3].clamp_min(1e-3) / side).log()
    distance = F.smooth_l1_loss(
        torch.cat([away, grown[..., None]], -1),
        torch.zeros(*away.shape[:-1], 3),
        reduction="none",
        beta=0.05,
    ).sum(-1)
    place = (distance * weight).sum() / weight.sum().clamp_min(1)
    terms = {"mask": mask, "dice": dice.mean(), "place": place}
    return {**terms, "total": 4 * mask + 0.5 * terms["dice"] + place}


class FinderLoss:
    """One batch of new pictures of one size. make: called when the first batch is asked for."""

    def __init__(self, net: FaceFinder, make: Callable[[], SceneMaker], count: int = BATCH) -> None:
        self.net, self.make, self.count = net, make, count

    @cached_property
    def maker(self) -> SceneMaker:
        return self.make()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
        height, width = (int(rng.choice(SIZES)) for _ in "hw")
        scenes = self.maker.batch(self.count, height, width, rng)
        return finder_loss(self.net(scenes.picture), scenes)


def scenes(work: Path, split: str) -> SceneMaker:
    """From what `work` holds of a split, "train" or "heldout"."""
    portraits = work / {"train": "portraits", "heldout": "portraits-heldout"}[split]
    pools = Pool("face", portraits), Pool("hand", portraits), Pool("body", work / split)
    return SceneMaker(*pools, split)


def train(
    make: Callable[[], SceneMaker], checkpoint: Path, steps: int = STEPS
) -> tuple[Trainer, FaceFinder]:
    """Trains or resumes; the returned network has the averaged weights."""
    torch.manual_seed(SEED)
    net = FaceFinder(WIDTHS)
    schedule = Schedule(steps, rate=2e-3, decay=0.5, ema=0.995)
    trainer = Trainer({"net": net}, schedule, checkpoint, SEED, every=60.0)
    trainer.run(FinderLoss(net, make))
    net.load_state_dict(trainer.averaged()["net"])
    return trainer, net.eval()


def counted(maker: SceneMaker, count: int, seed: int = 0) -> dict[str, list[tuple[Tensor, int]]]:
    """Pictures [H, W, 3] 0..1 of several kinds, with how many faces they show.

    "two in one" has two people's portraits cut out and put into another place; of "whole people"
    the face is at least TOLD pixels high, of "far people" less.
    """
    rng = np.random.default_rng(seed)

    def some(pool: Pool, many: int) -> tuple[list[Tensor], list[Tensor]]:
        image, label = pool.take(torch.from_numpy(rng.permutation(len(pool))[:many]))
        return list(image.float() / 255), list(label)

    one, _ = some(maker.faces, count)
    first, second = (some(maker.faces, count)[0] for _ in "ab")
    hands, shown = some(maker.hands, count)
    bodies, labels = some(maker.bodies, count)
    heights = [int((label == FACE).any(1).sum()) for label in labels]
    together = []
    for _ in range(count):
        canvas = maker.place(96, 128, rng)
        for left in (2, 66):
            side = int(rng.integers(28, 60))
            across, top = left + int(rng.integers(0, 61 - side)), int(rng.integers(0, 97 - side))
            maker.paste_face(canvas, side, across, top, False, rng)
        together.append(canvas.colour.movedim(0, -1))
    return {
        "one portrait": [(x, 1) for x in one],
        "two side by side": [(torch.cat(x, 1), 2) for x in zip(first, second, strict=True)],
        "two in one": [(x, 2) for x in together],
        "hands": [(x, 0) for x, s in zip(hands, shown, strict=True) if not (s == FACE).any()],
        "nobody": [(maker.place(96, 96, rng).colour.movedim(0, -1), 0) for _ in range(count)],
        "whole people": [(x, 1) for x, h in zip(bodies, heights, strict=True) if h >= TOLD],
        "far people": [(x, 1) for x, h in zip(bodies, heights, strict=True) if 0 < h < TOLD],
    }


def evaluate(net: FaceFinder, maker: SceneMaker, count: int = 200) -> dict[str, float]:
    """Share of pictures whose faces are counted right, for each kind of `counted`."""
    out = {}
    for kind, pictures in counted(maker, count).items():
        right = sum(len(find_faces(net, picture)) == many for picture, many in pictures)
        out[kind] = round(right / max(len(pictures), 1), 3)
    return out
