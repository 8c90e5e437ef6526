"""Held-out pairs as a benchmark sees them: pictures, imperfect dense poses, and the truth."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..people.estimator import degrade_dense_pose

SPLIT, SPACING = "heldout", 100_000


@dataclass(frozen=True)
class Pairs:
    """source, target, source_pose, target_pose: [B, H, W, 3] 0..1, poses degraded as a detector
    would; label [B, H, W] of the target; flow [B, H, W, 2] (-1..1, NaN off the person); visible
    [B, H, W]: that the target's surface is seen in the source.
    """

    source: Tensor
    target: Tensor
    source_pose: Tensor
    target_pose: Tensor
    label: Tensor
    flow: Tensor
    visible: Tensor

    def __len__(self) -> int:
        return len(self.source)


def people_of(seed: int, count: int) -> list[dict[str, Any]]:
    """The attributes of the people that `render_pairs` renders."""
    from ..people import recipe_of

    return [recipe_of(seed * SPACING + i, SPLIT).attributes()["people"][0] for i in range(count)]


def render_pairs(seed: int, count: int) -> Pairs:
    """Renders `count` held-out people in two poses each; the seed fixes everything.

    Seed 0 shares people with the sets that settings were chosen on: report others.
    """
    from ..people import render_set

    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[Tensor]] = {k: [] for k in Pairs.__dataclass_fields__}
    for i in range(count):
        person = render_set(seed * SPACING + i, SPLIT)
        pair = next(k for k, (s, t) in enumerate(person.pairs.tolist()) if (s, t) == (0, 1))
        image = torch.from_numpy(person.image)
        poses = degrade_dense_pose(torch.from_numpy(person.dense_pose[:2]), generator)
        row = {
            "source": image[0] / 255,
            "target": image[1] / 255,
            "source_pose": poses[0] / 255,
            "target_pose": poses[1] / 255,
            "label": torch.from_numpy(person.label[1]),
            "flow": torch.from_numpy(person.flow[pair]).float(),
            "visible": torch.from_numpy(person.visible[pair]),
        }
        for key, value in row.items():
            rows[key].append(value)
    return Pairs(**{key: torch.stack(values) for key, values in rows.items()})
