"""Pictures with their skeletons: close-ups of hands and whole people, for the pose branch."""

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ...methods.hand_pose import Hand, HandPoses, window_of
from ...methods.pose_maps import HAND, draw
from .inpaint_data import HANDS, Pool, grow, paint_region

HIDDEN, EVERYTHING, AROUND_HANDS = 0.5, 0.35, 0.4  # shares


class PosePool(Pool):
    """A pool of `inpaint_data` with points: of hands [N, 1, 21, 3] ("hand") or of both hands
    [N, 2, 21, 3] and bodies [N, 18, 3] ("body"), in pixels.
    """

    def __init__(self, domain: str, folder: Path) -> None:
        super().__init__(domain, folder)
        hands, bodies = [], []
        for name in sorted(self.seen):
            with safe_open(Path(folder) / name, framework="pt") as file:
                if domain == "hand":
                    hands.append(file.get_tensor("hand_points").flatten(0, 1).unsqueeze(1))
                else:
                    hands.append(file.get_tensor("hands").flatten(0, 1))
                    bodies.append(file.get_tensor("keypoints").flatten(0, 1))
        self.hands = torch.cat(hands)
        self.bodies = torch.cat(bodies) if bodies else None
        self.height, self.width = self.image[0].shape[1:3]

    def poses(self, index: int, hidden: bool = True) -> HandPoses:
        """The skeletons of a picture as a pose finder would tell them; hidden: with the hands'
        points that are not seen. Hands of which none is in the picture are left out.
        """
        hands = []
        for k, points in enumerate(self.hands[index]):
            told = points.clone()
            at = told[:, :2]
            inside = (at >= 0).all(1) & (at < at.new_tensor([self.width, self.height])).all(1)
            told[:, 2] = (inside | (points[:, 2] > 0)).float() if hidden else points[:, 2]
            window = window_of(told)
            left = k == 0 if self.domain == "body" else index % 2 == 0
            if window is not None and (points[:, 2] > 0).any():
                hands.append(Hand(told, left, 0, window))
        bodies = () if self.bodies is None else (self.bodies[index][None],)
        return HandPoses(tuple(hands), self.height, self.width, 1, bodies)

    def drawing(self, index: int, hidden: bool = True) -> Tensor:
        """The drawn skeletons [H, W, 3], 0..1."""
        poses = self.poses(index, hidden)
        if self.domain == "hand" and poses.hands:
            return draw(poses.hands[0].points[None], HAND, self.height, self.width)[0]
        return poses.drawing()[0]

    def region(self, label: Tensor, rng: np.random.Generator) -> Tensor:
        """What is to be painted, [H, W], 0 or 1: everything, all but the hands, or as for the
        base.
        """
        chance, hands = rng.random(), torch.isin(label, torch.tensor(HANDS)).float()
        if chance < EVERYTHING:
            return torch.ones_like(hands)
        if chance < EVERYTHING + AROUND_HANDS and hands.any():
            return 1 - grow(hands, int(rng.integers(0, 3)))
        return paint_region(label, self.domain, rng)
