"""Rendered people as training batches: shards in memory, picked up as they are written."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

TOP, SKIN, HANDS = 3, 1, (7, 8)
ARMS_AND_TORSO = (1, 8, 9, 10, 11)
KEYS = ("image", "dense_pose", "label", "flow", "visible")


@dataclass
class Shards:
    """All sets of a folder: image, dense_pose [n, 4, H, W, 3], label [n, 4, H, W] as uint8;
    flow [n, 12, H/2, W/2, 2], visible [n, 12, H/2, W/2] over all ordered pairs.
    """

    folder: Path
    shards: list[dict[str, Tensor]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def refresh(self) -> list[dict[str, Tensor]]:
        """Reads shards that have appeared since the last call and returns them."""
        fresh = []
        for path in sorted(Path(self.folder).glob("shard_*.safetensors")):
            if path.name not in self.seen:
                self.seen.add(path.name)
                stored = load_file(path)
                fresh.append({key: stored[key] for key in KEYS})
        self.shards += fresh
        return fresh

    @property
    def sets(self) -> int:
        return sum(len(s["image"]) for s in self.shards)

    def gather(self, key: str, sets: Tensor, pictures: Tensor) -> Tensor:
        """The `pictures`-th entry of each set, stacked."""
        return pick(self.shards, key, sets, pictures)


def pick(shards: list[dict[str, Tensor]], key: str, sets: Tensor, pictures: Tensor) -> Tensor:
    """shards[set][key][picture] for every pair, stacked; all shards hold equally many sets."""
    size = len(shards[0][key])
    return torch.stack(
        [
            shards[i // size][key][i % size, j]
            for i, j in zip(sets.tolist(), pictures.tolist(), strict=True)
        ]
    )


def pictures(image: Tensor) -> Tensor:
    """[B, H, W, 3] uint8 -> [B, 3, H, W], -1..1."""
    return image.movedim(-1, 1).float() / 127.5 - 1


def pair_index(source: Tensor, target: Tensor) -> Tensor:
    """Where (source, target) stands among the 12 ordered pairs."""
    return source * 3 + target - (target > source).long()


def garment_region(label: Tensor, dense_pose: Tensor, generator: torch.Generator) -> Tensor:
    """A try-on mask as a user would draw it: the top and the bare arms and neck, grown by a random
    2 to 6 pixels, hands, face and hair kept out. [B, H, W] uint8 labels -> [B, H, W] 0 or 1.
    """
    part = dense_pose[..., 0] // 10
    skin = (label == SKIN) & torch.isin(part, torch.tensor(ARMS_AND_TORSO))
    region = ((label == TOP) | skin).float().unsqueeze(1)
    grow = int(torch.randint(2, 7, (), generator=generator))
    region = F.max_pool2d(region, 2 * grow + 1, 1, grow)[:, 0]
    keep = torch.isin(label, torch.tensor((2, 6, *HANDS)))
    return region * ~keep
