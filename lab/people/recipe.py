"""From a seed to everything that a set is made of, before anything is rendered."""

from dataclasses import dataclass

import numpy as np

from .backdrop import Backdrop, sample_backdrop
from .identity import CELLS, Identity, sample_identity
from .pose import Angles, sample_pose
from .wardrobe import Outfit, sample_outfit

VERSION = "people-1"
SPLITS = {"train": 0x7261, "heldout": 0x6865}
FULL_BODY_SHARE = 0.15
PICTURES = 4


@dataclass(frozen=True)
class Shot:
    """Pose and framing of one picture."""

    angles: Angles
    shift: np.ndarray  # [2] share of the picture's height, right and up
    zoom: float


@dataclass(frozen=True)
class Recipe:
    """A set: pictures 0..2 show person P, picture 3 shows Q in the same top."""

    seed: int
    split: str
    frame: str
    people: tuple[Identity, Identity]
    outfits: tuple[Outfit, Outfit]
    backdrops: tuple[Backdrop, Backdrop]
    shots: tuple[Shot, ...]

    def wearer(self, picture: int) -> int:
        """0 (P) or 1 (Q)."""
        return int(picture == PICTURES - 1)

    def attributes(self) -> dict:
        """What P and Q are and wear, json-able; "people" [0] is P."""
        people = [
            {**who.attributes(), **outfit.attributes(), "backdrop": place.kind}
            for who, outfit, place in zip(self.people, self.outfits, self.backdrops, strict=True)
        ]
        return {"frame": self.frame, "people": people}


def stream(split: str, seed: int, *purpose: int) -> np.random.Generator:
    """Random numbers of one purpose; splits never share a stream.

    Raises ValueError for an unknown split or a negative seed.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be "train" or "heldout", got {split!r}')
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number of 0 or more, got {seed!r}")
    return np.random.default_rng([SPLITS[split], int(seed), *purpose])


def _cell(split: str, seed: int, which: int) -> int:
    """Stratum of person `which`: every block of CELLS seeds holds each stratum once."""
    block, index = divmod(int(seed), CELLS)
    return int(stream(split, block, 100 + which).permutation(CELLS)[index])


def recipe_of(seed: int, split: str) -> Recipe:
    """Draws the set of a seed; the same seed and split give the same set for ever (VERSION)."""
    rng = stream(split, seed, 0)
    frame = "full" if rng.random() < FULL_BODY_SHARE else "upper"
    people = tuple(
        sample_identity(stream(split, seed, 1, k), _cell(split, seed, k)) for k in (0, 1)
    )
    first = sample_outfit(stream(split, seed, 2, 0), people[0].gender)
    second = sample_outfit(stream(split, seed, 2, 1), people[1].gender, top=first.top)
    backdrops = tuple(sample_backdrop(stream(split, seed, 3, k)) for k in (0, 1))
    shots = []
    for k in range(PICTURES):
        rng = stream(split, seed, 4, k)
        shots.append(
            Shot(
                sample_pose(rng),
                np.clip(rng.normal(0, 0.018, 2), -0.04, 0.04),
                rng.uniform(0.96, 1.1),
            )
        )
    return Recipe(int(seed), split, frame, people, (first, second), backdrops, tuple(shots))
