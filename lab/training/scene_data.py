"""Scenes of one to three people as a domain of the inpainting model."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..people import phrases
from ..people.groups import MOST, SHARES, Plan, draw_scene, plan_scene
from ..people.phrases import Speaker
from ..people.portraits import FACES
from .inpaint_data import Pool

PER_FACE = 4  # scenes for every picture of a face


class ScenePool(Pool):
    """Scene `i` is the same whenever it is asked for, as long as the portraits are.

    As Pool, with pictures u8 [N, 64, 128, 3]; labels tell who is there: 0 nobody, k the k-th
    person from the left.
    """

    def __init__(self, faces: Pool) -> None:
        self.domain = "scene"
        self.faces = faces

    def refresh(self) -> None:
        """Reads the portraits that have appeared since the last call."""
        self.faces.refresh()

    def __len__(self) -> int:
        return PER_FACE * len(self.faces)

    def plan(self, index: int) -> Plan:
        """Which portraits scene `index` shows and where; its people are all different."""
        return _plan(index, len(self.faces))

    def take(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures u8 [B, 64, 128, 3] and owners u8 [B, 64, 128]."""
        scenes = []
        for index in which.tolist():
            plan = self.plan(index)
            scenes.append(draw_scene(plan, *self.faces.take(torch.tensor(plan.portraits))))
        images, owners = zip(*scenes, strict=True)
        return torch.stack(images), torch.stack(owners)

    def people(self, index: int) -> list[dict]:
        """Attributes of the people in a scene, left to right."""
        return [self.faces.facts[k] for k in self.plan(index).portraits]

    def prompt(self, index: int, rng: np.random.Generator | None = None) -> str:
        place = self.plan(index).place.kind
        return phrases.scene(self.people(index), place, Speaker(rng))


@lru_cache(maxsize=4096)
def _plan(index: int, faces: int) -> Plan:
    rng = np.random.default_rng([index, faces])
    count = min(1 + int(rng.choice(MOST, p=SHARES)), faces // FACES)
    people = rng.choice(faces // FACES, count, replace=False)
    return plan_scene(rng, [int(k) * FACES + int(rng.integers(FACES)) for k in people])
