"""The pose that guidance pulls towards, before it is known how large the picture will be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .hand_pose import CANVAS, NORMALISED, frames
from .pose_check import chosen, people
from .pose_guidance import GuidanceReport, PoseGuidance
from .site import Step


def shares(given: Any, person: int = 1) -> Tensor:
    """Bodies of POSE_KEYPOINT or its JSON, one for each frame, [P, 18, 3]: x and y in shares of the
    frame's canvas, and a confidence.

    person: which of a frame's people, 1 for the first. Raises ValueError for other skeletons (see
    `hand_pose.read`), fewer people, and for pixels of a canvas whose size is not told.
    """
    bodies = people(given, 1, 1)
    poses = chosen(bodies, len(bodies) or 1, person)
    sized = all(one.get(side) for one in frames(given) for side in CANVAS)
    known = poses[poses[..., 2] > 0, :2]
    if not sized and len(known) and float(known.abs().max()) > NORMALISED:
        raise ValueError(
            "Expected keypoints that name their canvas (canvas_width, canvas_height) or are shares "
            f"of it; got pixels as large as {float(known.abs().max()):.0f} and no canvas. Take "
            "them through Pose Keypoints, which asks for its size."
        )
    return poses


class TowardsPose(PoseGuidance):
    """`PoseGuidance` with a target [P, 18, 3] in shares of the picture, whatever its size.

    after_step: called with the report and the step after every step in which it acted. how: further
    arguments of `PoseGuidance`.
    """

    def __init__(
        self,
        head: Any,
        judge: Any,
        target: Tensor,
        after_step: Callable[[GuidanceReport, Step], None] | None = None,
        **how: Any,
    ) -> None:
        super().__init__(head, judge, target, **how)
        self.shares, self.after_step = target, after_step

    def denoised(self, x0: Tensor, step: Step) -> Tensor:
        h, w = (n * self.head.downscale for n in x0.shape[-2:])
        self.target = self.shares * torch.tensor([w, h, 1.0])
        out = super().denoised(x0, step)
        if self.after_step is not None and self.report is not None:
            self.after_step(self.report, step)
        return out
