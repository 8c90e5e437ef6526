"""Held-out hands and people painted in one stage and in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.hands import HandModel, PaintedHands, load_hand_model
from ...hosts.pose_branch import PoseBranch, load_pose_branch
from ...methods.hand_pose import HandPoses
from ...methods.outpaint import Canvas, GrowingOutpaint, Growth, compose
from ...methods.pose_branch import PoseGuide

STEPS, CFG = 20, 2.0
HAND_STEPS, HAND_GUIDANCE = 4, 1.5
GREY = 0.5


@dataclass
class HandPainter:
    """The base, its pose branch and the hand generator."""

    model: Any
    clip: Any
    vae: Any
    branch: PoseBranch
    hands: HandModel

    def __post_init__(self) -> None:
        self.layers = host.cross_attention_weights(self.model)
        self.cell = host.model_config(self.model)["downscale"]

    def hands_of(self, poses: HandPoses, seed: int, skin: Tensor | None = None) -> PaintedHands:
        """Stage one; skin: [N, 3], 0..1."""
        return self.hands.paint(poses, seed, HAND_STEPS, HAND_GUIDANCE, skin)

    @torch.inference_mode()
    def paint(
        self,
        canvas: Canvas,
        drawings: Tensor,
        prompts: Sequence[str],
        seed: int,
        growth: Growth | None = None,
    ) -> Tensor:
        """Pictures [B, H, W, 3]: what the base paints where the canvas's mask is 1.

        drawings: [B, H, W, 3], the poses that it is told. growth: None keeps the mask fixed.
        """
        hidden = canvas.mask.round().unsqueeze(-1)
        seen = {
            "concat_latent_image": self.vae.encode(canvas.image * (1 - hidden) + GREY * hidden),
            "concat_mask": canvas.mask.unsqueeze(1),
        }
        model = host.patch(self.model, PoseGuide(self.branch.features(drawings, self.layers)))
        if growth is not None:
            model = host.patch(model, GrowingOutpaint(growth, self.cell))
        said, nothing = (
            host.encode_text(self.clip, texts) for texts in (prompts, [""] * len(prompts))
        )
        latent = {"samples": self.vae.encode(canvas.image), "noise_mask": canvas.mask}
        out = host.sample(
            model,
            seed,
            STEPS,
            CFG,
            "euler",
            "simple",
            [[said, seen]],
            [[nothing, seen]],
            latent,
        )
        return self.vae.decode(out["samples"])

    def empty(self, poses: HandPoses) -> Canvas:
        """Nothing is there yet."""
        size = (poses.pictures, poses.height, poses.width)
        return Canvas(torch.full((*size, 3), GREY), torch.ones(size))

    def composed(self, poses: HandPoses, made: PaintedHands, grow: float) -> Canvas:
        """The hands of stage one in their places."""
        canvas = torch.full((1, poses.height, poses.width, 3), GREY)
        return compose(canvas, poses, made.pictures, made.masks, grow)


def load_painter(base: Path, branch: Path, hands: Path) -> HandPainter:
    """From the three files."""
    parts = host.load_inpaint_model(base)
    return HandPainter(*parts, load_pose_branch(branch), load_hand_model(hands))


def together(poses: Sequence[HandPoses]) -> HandPoses:
    """Poses of single pictures of one size as those of one batch."""
    hands = [replace(hand, picture=k) for k, one in enumerate(poses) for hand in one.hands]
    bodies = tuple(body for one in poses for body in one.bodies)
    return HandPoses(tuple(hands), poses[0].height, poses[0].width, len(poses), bodies)
