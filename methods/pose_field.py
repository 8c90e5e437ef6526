"""Pose interaction field: how far a pose is from all valid poses (arXiv 2310.16074).

The abstract names fields whose distance guides the sampling, and says no more: the network and its
units are our design where the paper is silent, after the neural distance fields of Pose-NDF
(arXiv 2207.13807): an encoder along the kinematic tree, then one non-negative number.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pose_maps import BODY

POINTS, NECK = len(BODY.names), 1
BONES = BODY.bones  # (parent, child) of a tree whose root is the neck, parents first
ABOVE = tuple(next((k for k, b in enumerate(BONES) if b[1] == a), None) for a, _ in BONES)
TRUNK = (0, 1, 6, 9)  # neck to shoulders, neck to hips: they measure a body that is seen in parts
LIMBS_COUNT = 0.02  # a limb's part in that measure, beside a trunk bone's 1
SHORT = 0.02  # torsos: shorter bones hardly have a direction
SHARP = 30.0  # of the last softplus: below a thirtieth of a torso it bends to zero
FEWEST = 2  # bones without which there is nothing to judge


class PoseField(nn.Module):
    """Distance [B], >= 0, of bones from the nearest valid pose, in torsos.

    A torso is the usual length from the neck to a hip. The distance of two poses is the root mean
    square, over the bones that both have, of the difference of their bone vectors in torsos; so
    neither place nor size in the picture counts. 0 on valid poses, differentiable everywhere.
    code: numbers per bone. inner: of the bones' encoders. width: of the two layers that judge.
    operations: where the layers come from, PyTorch or the host.
    """

    def __init__(
        self, code: int = 8, inner: int = 24, width: int = 192, operations: Any = nn
    ) -> None:
        super().__init__()

        def layers(*widths: int) -> list[nn.Module]:
            steps = [operations.Linear(a, b) for a, b in pairwise(widths)]
            return [m for step in steps for m in (step, nn.SiLU())][:-1]

        self.bones = nn.ModuleList(
            nn.Sequential(*layers(4 + (code if above is not None else 0), inner, code))
            for above in ABOVE
        )
        self.judge = nn.Sequential(*layers(len(BONES) * code, width, width, 1))
        self.register_buffer("usual", torch.ones(len(BONES)))  # lengths in torsos

    def distance(self, points: Tensor) -> Tensor:
        """Of poses [B, 18, 3]: x, y in any unit, and a confidence, 0 for a point that is not known.

        Poses with fewer than two known bones get 0. Points that are not known get no gradient.
        """
        return self(*self.vectors(points)[:2])

    def vectors(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bones [B, 17, 2] in torsos, 0 where not known; which are known [B, 17], 0 or 1; and a
        torso's length [B] in the points' unit. Raises ValueError for other shapes.
        """
        if points.shape[-2:] != (POINTS, 3):
            raise ValueError(
                f"Expected poses of {POINTS} points, x, y and confidence each; got "
                f"{list(points.shape)}. Convert other skeletons to OpenPose's."
            )
        starts, ends = ([bone[end] for bone in BONES] for end in (0, 1))
        there = (points[..., 2] > 0).to(points)
        known = there[:, starts] * there[:, ends]
        span = (points[:, ends, :2] - points[:, starts, :2]) * known.unsqueeze(-1)
        counts = known * torch.full_like(self.usual, LIMBS_COUNT).index_fill(
            0, torch.tensor(TRUNK, device=points.device), 1.0
        )
        length = _length(span, 1e-6)
        torso = (counts * length).sum(1) / (counts * self.usual).sum(1).clamp_min(1e-6)
        torso = torch.where(known.any(1), torso, 1.0).clamp_min(1e-6)
        return span / torso[:, None, None], known, torso

    def forward(self, vectors: Tensor, known: Tensor) -> Tensor:
        """[B] from bones [B, 17, 2] in torsos and which are known [B, 17]; see `vectors`."""
        known = known.to(vectors)
        length = _length(vectors, SHORT)
        bone = torch.cat([vectors / length.unsqueeze(-1), length.unsqueeze(-1)], -1)
        told = torch.cat([bone * known.unsqueeze(-1), known.unsqueeze(-1)], -1)
        codes: list[Tensor] = []
        for k, (net, above) in enumerate(zip(self.bones, ABOVE, strict=True)):
            seen = told[:, k] if above is None else torch.cat([told[:, k], codes[above]], 1)
            codes.append(net(seen))
        out = F.softplus(self.judge(torch.cat(codes, 1))[:, 0], beta=SHARP)
        return out * (known.sum(1) >= FEWEST)

    def mend(self, points: Tensor, steps: int = 10, rate: float = 0.5) -> Tensor:
        """Walks poses [B, 18, 3] down the field: [steps + 1, B, 18, 3], the first as given.

        Each step moves the bones by rate * distance * gradient, the gradient scaled so that a true
        distance field arrives in one step at rate 1 (Pose-NDF's projection); the neck stays, and
        points that are not known.
        """
        with torch.inference_mode(False), torch.enable_grad():
            walk = [points.detach().clone()]
            for _ in range(steps):
                vectors, known, torso = self.vectors(walk[-1])
                vectors = vectors.detach().requires_grad_(True)
                far = self(vectors, known)
                (slope,) = torch.autograd.grad(far.sum(), vectors)
                bones = known.sum(1).clamp_min(1)
                step = rate * (far.detach() * bones)[:, None, None] * slope
                walk.append(assemble((vectors.detach() - step) * torso[:, None, None], walk[-1]))
        return torch.stack(walk)


def assemble(spans: Tensor, points: Tensor) -> Tensor:
    """Points [B, 18, 3] moved so that their bones are spans [B, 17, 2]; the root of what hangs
    together stays where it is, as do points that are not known.
    """
    there, place = points[..., 2] > 0, list(points[..., :2].unbind(1))
    for k, (parent, child) in enumerate(BONES):
        both = (there[:, parent] & there[:, child]).unsqueeze(-1)
        place[child] = torch.where(both, place[parent] + spans[:, k], place[child])
    return torch.cat([torch.stack(place, 1), points[..., 2:]], -1)


def _length(vectors: Tensor, least: float) -> Tensor:
    """[..., 2] -> [...]; smooth at 0, where it is `least`."""
    return (vectors.square().sum(-1) + least * least).sqrt()
