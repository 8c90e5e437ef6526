"""Close-ups of hands with their points as training batches; all of them right hands."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ...methods.hand_pose import mirrored
from ...methods.hands import skin_of
from ...methods.pose_maps import HAND, draw
from .data import pictures
from .inpaint_data import box_of, free_form, grow

LEFT, RIGHT = 7, 8  # labels
HIDDEN, NO_POSE, NO_SKIN = 0.3, 0.1, 0.5  # shares of a batch
KEYS = ("hand_image", "hand_label", "hand_points")


@dataclass
class HandBatch:
    """picture [B, 3, S, S] -1..1; mask [B, S, S], 1 on the hand; points [B, 21, 3] in pixels;
    region [B, 1, S, S], 1 where it is to be painted; pose [B, 3, S, S] 0..1; skin [B, 4].
    """

    picture: Tensor
    mask: Tensor
    points: Tensor
    region: Tensor
    pose: Tensor
    skin: Tensor


class HandPool:
    """Close-ups of right hands: image u8 [N, S, S, 3], mask u8 [N, S, S], 0 or 1, and points f32
    [N, 21, 3], of which the third value says whether the point is seen.
    """

    def __init__(self, image: Tensor, mask: Tensor, points: Tensor) -> None:
        self.image, self.mask, self.points = image, mask, points
        self._maps = torch.zeros(2, *image.shape, dtype=torch.uint8)
        self._drawn = torch.zeros(2, len(image), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures [B, 3, S, S] -1..1, masks [B, S, S] 0 or 1 and points [B, 21, 3]."""
        return pictures(self.image[which]), self.mask[which].float(), self.points[which]

    def poses(self, which: Tensor, hidden: Tensor) -> Tensor:
        """Pose maps [B, 3, S, S], 0..1, each drawn once; hidden [B]: whether points that are not
        seen are left out.
        """
        kind = hidden.long()
        for k in (0, 1):
            new = which[(kind == k) & ~self._drawn[k, which]].unique()
            if len(new):
                known = self.points[new].clone()
                if k == 0:
                    known[..., 2] = 1
                drawn = draw(known, HAND, *self.image.shape[1:3])
                self._maps[k, new] = (drawn * 255).round().byte()
                self._drawn[k, new] = True
        return self._maps[kind, which].movedim(-1, 1).float() / 255

    def draw(self, count: int, g: torch.Generator) -> HandBatch:
        """A training batch: regions as a repair or a first stage has them, points that a detector
        would not see left out now and then, pose and skin not told now and then.
        """
        which = torch.randint(len(self), (count,), generator=g)
        picture, mask, points = self.take(which)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
        region = torch.stack([hand_region(one, rng) for one in mask]).unsqueeze(1)
        rows = torch.from_numpy(rng.random((3, count)) < [[HIDDEN], [NO_POSE], [NO_SKIN]])
        pose = self.poses(which, rows[0]) * ~rows[1][:, None, None, None]
        skin = skin_of(picture, mask) * ~rows[2][:, None]
        return HandBatch(picture, mask, points, region, pose, skin)


def hand_region(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """What is to be painted, [S, S] 0 or 1: everything, the hand grown, its box, or strokes."""
    kind = rng.choice(4, p=(0.45, 0.25, 0.2, 0.1))
    if kind == 0 or not mask.any():
        return torch.ones_like(mask)
    if kind == 1:
        return grow(mask, int(rng.integers(2, 9)))
    if kind == 2:
        return box_of(mask > 0, int(rng.integers(1, 7))).float()
    return free_form(*mask.shape, rng)


def open_pool(folder: Path) -> HandPool:
    """All close-ups of a folder of shards, left hands mirrored. Raises ValueError for a folder
    without shards.
    """
    paths = sorted(Path(folder).glob("shard_*.safetensors"))
    if not paths:
        raise ValueError(f"{folder}: expected shards of close-ups, found none. Render them.")
    parts: dict[str, list[Tensor]] = {key: [] for key in KEYS}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            for key in KEYS:
                parts[key].append(file.get_tensor(key).flatten(0, 1))
    image, label, points = (torch.cat(parts[key]) for key in KEYS)
    left = torch.arange(len(image)) % 2 == 0
    mask = (label == torch.where(left, LEFT, RIGHT)[:, None, None]).to(torch.uint8)
    return right_hands(image, mask, points, left)


def right_hands(image: Tensor, mask: Tensor, points: Tensor, left: Tensor) -> HandPool:
    """A pool of close-ups of which those marked in left [N] are mirrored; see HandPool."""
    return HandPool(
        torch.where(left[:, None, None, None], image.flip(2), image),
        torch.where(left[:, None, None], mask.flip(2), mask),
        torch.where(left[:, None, None], mirrored(points, float(image.shape[2])), points),
    )
