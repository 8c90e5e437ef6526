"""How well held-out people are told apart, and when to doubt that two pictures show one person."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts.faces import FaceNet
from ..people.portraits import FACES
from .inpaint_data import Pool

LIKENESS = ("gender", "age", "skin_tone")


@torch.inference_mode()
def evaluate(net: FaceNet, pool: Pool) -> dict[str, float]:
    """How well held-out people are told apart.

    same, other: mean cosine of pairs of one person and of two people; accepted: share of pairs of
    one person above what 1% of the pairs of two people reach; accepted_alike: the same, where the
    two people share gender, age and skin tone; first: share of pictures whose nearest other
    picture is of the same person; groups: "accepted" by skin tone, gender and age.
    """
    image, _ = pool.take(torch.arange(len(pool)))
    e = F.normalize(net(image.movedim(-1, 1).float() / 127.5 - 1), dim=-1)
    cosine = e @ e.mT
    person = torch.arange(len(pool)) // FACES
    group = [tuple(f[k] for k in LIKENESS) for f in pool.facts]
    kinds = {kind: i for i, kind in enumerate(sorted(set(group)))}
    alike = torch.tensor([kinds[one] for one in group])
    same = (person[:, None] == person).fill_diagonal_(False)
    other = person[:, None] != person
    near = other & (alike[:, None] == alike)
    limit, limit_alike = (float(cosine[pairs].quantile(0.99)) for pairs in _few(other, near))
    nearest = cosine.clone().fill_diagonal_(-2).argmax(1)
    out: dict[str, Any] = {
        "same": float(cosine[same].mean()),
        "other": float(cosine[other].mean()),
        "accepted": float((cosine[same] > limit).float().mean()),
        "accepted_alike": float((cosine[same] > limit_alike).float().mean()),
        "first": float((person[nearest] == person).float().mean()),
    }
    for key in LIKENESS:
        for value in sorted({f[key] for f in pool.facts}):
            rows = torch.tensor([f[key] == value for f in pool.facts])
            pairs = same & rows[:, None]
            out[f"accepted_{key}_{value}"] = float((cosine[pairs] > limit).float().mean())
    return {name: round(value, 3) for name, value in out.items()}


def _few(*masks: Tensor) -> list[Tensor]:
    """At most a million pairs of each mask, which is what quantile() takes."""
    rng = np.random.default_rng(0)
    out = []
    for mask in masks:
        where = mask.flatten().nonzero()[:, 0]
        if len(where) > 1_000_000:
            where = where[torch.from_numpy(rng.permutation(len(where))[:1_000_000])]
        some = torch.zeros(mask.numel(), dtype=torch.bool)
        some[where] = True
        out.append(some.view_as(mask))
    return out


@torch.inference_mode()
def calibrate(net: FaceNet, pool: Pool, references: int = 4) -> dict[str, float]:
    """When to doubt that references show one person, from held-out people.

    alike: the limit below which the lowest cosine among `references` pictures of one person lies
    in 5% of all choices of pictures. strangers_noticed: how often it lies below the limit when the
    last picture is anybody else's; strangers_alike_noticed: when it is of somebody of the same
    gender, age and skin tone.
    """
    image, _ = pool.take(torch.arange(len(pool)))
    e = F.normalize(net(image.movedim(-1, 1).float() / 127.5 - 1), dim=-1).unflatten(0, (-1, FACES))
    people = len(e)
    chosen = torch.combinations(torch.arange(FACES), references)
    own = _lowest(e[:, chosen].flatten(0, 1))
    alike = float(own.quantile(0.05))
    kind = [tuple(pool.facts[p * FACES][k] for k in LIKENESS) for p in range(people)]
    mixed, twins = [], []
    for p in range(people):
        for q in range(people):
            if p != q:
                both = torch.cat([e[p, : references - 1], e[q, -1:]])
                (twins if kind[p] == kind[q] else mixed).append(both)

    def noticed(sets: list[Tensor]) -> float:
        return round(float((_lowest(torch.stack(sets)) < alike).float().mean()), 3) if sets else 0.0

    return {
        "alike": round(alike, 3),
        "strangers_noticed": noticed(mixed + twins),
        "strangers_alike_noticed": noticed(twins),
    }


def _lowest(e: Tensor) -> Tensor:
    """The lowest cosine in each set of unit vectors [N, R, D]."""
    return (e @ e.mT).flatten(1).min(1).values
