"""Whether a picture shows the pose that was asked for: joints against joints, as numbers.

Our design: neither this measure nor the drawing is a paper's. PCK is the usual share of correct
keypoints, with the longer side of the box around the wanted points as its unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .hand_pose import read
from .pose_maps import BODY

NAMES = BODY.names
UNIT = 1 / 8  # of the picture's longer side: the least that counts as the box of a pose


@dataclass(frozen=True)
class PoseCheck:
    """target, measured: [B, 18, 3], x and y in pixels and a confidence, 0 for what is not known;
    of the target only what lies in the picture. unit: [B], the longer side of the box around the
    target's points in pixels. threshold: what is near enough, as a share of the unit.
    """

    target: Tensor
    measured: Tensor
    unit: Tensor
    threshold: float

    @property
    def wanted(self) -> Tensor:
        """[B, 18], the points that are asked for."""
        return self.target[..., 2] > 0

    @property
    def compared(self) -> Tensor:
        """[B, 18], those of them that were found too."""
        return self.wanted & (self.measured[..., 2] > 0)

    @property
    def distances(self) -> Tensor:
        """[B, 18] in pixels; NaN where nothing can be compared."""
        far = (self.target[..., :2] - self.measured[..., :2]).norm(dim=-1)
        return torch.where(self.compared, far, torch.nan)

    @property
    def near(self) -> Tensor:
        """[B, 18], where the measured point is near enough."""
        return self.compared & (self.distances <= self.threshold * self.unit[:, None])

    @property
    def pck(self) -> float:
        """The share of all wanted points that are near enough, 0..1; a point that was not found is
        not. NaN where no point is wanted.
        """
        return float(self.near.sum()) / int(self.wanted.sum()) if self.wanted.any() else torch.nan

    @property
    def error(self) -> float:
        """Mean distance in pixels over the points that can be compared; NaN where there is none."""
        return float(self.distances[self.compared].mean()) if self.compared.any() else torch.nan

    def table(self) -> str:
        """What an artist reads: one line for all, one for each picture, one for each joint."""
        lines = [
            f"PCK@{self.threshold:g} {_share(self.near, self.wanted)}, mean error "
            f"{_pixels(self.distances[self.compared])}"
        ]
        for number, far in enumerate(self.distances, 1):
            row = number - 1
            near, wanted, seen = self.near[row], self.wanted[row], self.compared[row]
            text = f"picture {number}: {_share(near, wanted)}, mean error {_pixels(far[seen])}"
            if seen.any():
                worst = int(far.nan_to_num(-1.0).argmax())
                text += f", worst {NAMES[worst]} {float(far[worst]):.1f} px"
            elif wanted.any():
                text += ", nobody was found"
            else:
                text += ", no point of the target is in the picture"
            lines.append(text)
        for joint, name in enumerate(NAMES):
            wanted, seen = self.wanted[:, joint], self.compared[:, joint]
            if wanted.any():
                error = _pixels(self.distances[:, joint][seen])
                lines.append(f"{name}: {_share(self.near[:, joint], wanted)}, mean error {error}")
        return "\n".join(lines)


def _share(near: Tensor, wanted: Tensor) -> str:
    count = int(wanted.sum())
    return f"{int(near.sum())} of {count} ({float(near.sum()) / max(count, 1):.0%})"


def _pixels(far: Tensor) -> str:
    return f"{float(far.mean()):.1f} px" if len(far) else "not known"


def people(given: Any, height: int, width: int, confidence: float = 0.0) -> tuple[Tensor, ...]:
    """The bodies of POSE_KEYPOINT or of its JSON, for each picture [people, 18, 3], in pixels of a
    picture of that size; see `hand_pose.read`, whose errors these are.
    """
    return read(given, height, width, confidence).bodies


def chosen(bodies: Sequence[Tensor], count: int, person: int = 1, what: str = "target") -> Tensor:
    """One body for each of `count` pictures, [count, 18, 3], from the bodies of one picture (for
    all of them) or of each.

    person: which of a picture's people, 1 for the first. what: for people. Raises ValueError where
    there are other numbers of pictures, or fewer people.
    """
    if len(bodies) not in (1, count):
        raise ValueError(
            f"Expected keypoints of {'1' if count == 1 else f'1 or {count}'} picture(s) as the "
            f"{what}; got {len(bodies)}. Give one pose for all pictures, or one for each."
        )
    for number, one in enumerate(bodies, 1):
        if len(one) < person:
            raise ValueError(
                f"Expected a body number {person} in picture {number} of the {what}; there are "
                f"{len(one)} with body keypoints. Choose another person, or switch bodies on in "
                "the pose finder."
            )
    return torch.stack([one[person - 1] for one in bodies]).expand(count, -1, -1)


def nearest(bodies: Sequence[Tensor], target: Tensor) -> Tensor:
    """Of each picture's people the one nearest to its target [B, 18, 3], by the mean distance of
    the points that both have; no points at all where nobody is found. Raises as `chosen`.
    """
    if len(bodies) not in (1, len(target)):
        chosen(bodies, len(target), 0, "measured pose")
    each = list(bodies) * (len(target) if len(bodies) == 1 else 1)
    out = torch.zeros_like(target)
    for row, (found, wanted) in enumerate(zip(each, target, strict=True)):
        both = (found[..., 2] > 0) & (wanted[:, 2] > 0)
        far = (found[..., :2] - wanted[:, :2]).norm(dim=-1) * both
        mean = torch.where(both.any(-1), far.sum(-1) / both.sum(-1).clamp_min(1), torch.inf)
        if len(mean) and mean.isfinite().any():
            out[row] = found[mean.argmin()]
    return out


def check(
    target: Tensor, measured: Tensor, height: int, width: int, threshold: float = 0.05
) -> PoseCheck:
    """Compares poses [B, 18, 3], in pixels of pictures of that size. Points of the target outside
    of the picture are not asked for: nobody can see where they are.
    """
    inside = (target[..., :2] >= 0).all(-1)
    inside &= (target[..., 0] < width) & (target[..., 1] < height)
    known = target[..., 2:] * inside.unsqueeze(-1)
    target = torch.cat([target[..., :2], known], -1)
    wanted = known > 0
    low = torch.where(wanted, target[..., :2], torch.inf).amin(1)
    high = torch.where(wanted, target[..., :2], -torch.inf).amax(1)
    unit = (high - low).amax(-1).clamp_min(UNIT * max(height, width))
    return PoseCheck(target, measured, unit, threshold)
