"""Does the pose field rank held-out poses, and does going down it mend a broken one?

Poses of held-out people that training never saw, without rendering. Broken ones: every bone of a
valid pose gets noise of a share of its torso, so limbs lose direction and length, as in a keypoint
finder's failures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...methods.pose_field import PoseField, assemble
from ..training.pose_field import auc
from .heldout import SPACING
from .pose_pairs import joints_of

FIRST = 80_000  # seeds of their own
SCALES = (0.05, 0.1, 0.2, 0.4)  # torsos of noise per coordinate of a bone
BROKEN = (0.1, 0.2, 0.4)  # which of them count as broken: 0.05 is a finder's ordinary error
MENDED, WALK = 0.2, 20


@dataclass(frozen=True)
class Walk:
    """Poses [steps + 1, B, 18, 3] on their way down the field, and the valid poses [B, 18, 3] that
    were broken. Of every step [steps + 1, B]: field, its distance; apart, from the valid pose;
    limbs, how wrong their lengths are; all in torsos.
    """

    poses: Tensor
    valid: Tensor
    field: Tensor
    apart: Tensor
    limbs: Tensor


def held_poses(seed: int, people: int) -> Tensor:
    """Valid poses [3 * people, 18, 3] in pixels; points outside the picture are not known."""
    return torch.cat([joints_of(seed * SPACING + FIRST + k) for k in range(people)])


def broken(field: PoseField, points: Tensor, scale: float, g: torch.Generator) -> Tensor:
    """Poses [B, 18, 3] whose bones have noise of `scale` torsos in both coordinates."""
    spans, known, torso = field.vectors(points)
    noise = scale * torch.randn(spans.shape, generator=g) * known.unsqueeze(-1)
    return assemble((spans + noise) * torso[:, None, None], points)


def apart(field: PoseField, poses: Tensor, others: Tensor) -> Tensor:
    """Root mean square difference of the known bones, each pose in torsos of its own, [B]: neither
    place nor size counts, as for the field.
    """
    (mine, _, _), (theirs, known, _) = field.vectors(poses), field.vectors(others)
    square = (mine - theirs).square().sum(-1) * known
    return (square.sum(1) / known.sum(1).clamp_min(1)).sqrt()


def limb_error(field: PoseField, poses: Tensor, valid: Tensor) -> Tensor:
    """How far the known bones are from their length in the valid pose, each in torsos of its own
    pose, the mean, [B].
    """
    (mine, _, _), (theirs, known, _) = field.vectors(poses), field.vectors(valid)
    off = (mine.norm(dim=-1) - theirs.norm(dim=-1)).abs() * known
    return off.sum(1) / known.sum(1).clamp_min(1)


@torch.no_grad()
def rank(field: PoseField, poses: Tensor, seed: int) -> dict[str, Any]:
    """field_auc: valid against broken poses, all scales of BROKEN alike; and for each scale."""
    g = torch.Generator().manual_seed(seed)
    valid = field.distance(poses)
    far = {scale: field.distance(broken(field, poses, scale, g)) for scale in SCALES}
    return {
        "field_auc": round(auc(valid, torch.cat([far[scale] for scale in BROKEN])), 4),
        "field_auc_by_noise": {str(scale): round(auc(valid, one), 4) for scale, one in far.items()},
    }


@torch.no_grad()
def walk(field: PoseField, poses: Tensor, seed: int) -> Walk:
    """Breaks poses and goes down the field."""
    g = torch.Generator().manual_seed(seed + 1)
    steps = field.mend(broken(field, poses, MENDED, g), WALK)
    measures = (
        torch.stack([measure(step) for step in steps])
        for measure in (
            field.distance,
            lambda step: apart(field, step, poses),
            lambda step: limb_error(field, step, poses),
        )
    )
    return Walk(steps, poses, *measures)


def mended(done: Walk) -> dict[str, float]:
    """Means before and after the walk."""
    return {
        f"mend_{name}_{when}": round(float(getattr(done, name)[at].mean()), 4)
        for name in ("field", "apart", "limbs")
        for when, at in (("before", 0), ("after", -1))
    }
