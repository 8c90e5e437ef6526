"""The network beside a model that reads a drawn pose; see `methods.pose_branch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import weights

BRANCHES = weights.Kind(
    "a pose branch",
    "Outpaint Blender",
    "models/mannequin/branches",
    ("branch",),
    ("family", "net"),
    {"family": ("mannequin-tiny-pose-branch",)},
)


class PoseNet(nn.Module):
    """pose [B, 3, H, W], 0..1 -> {layer: [B, C, h, w]}, what is added after each self-attention.

    layers: {layer: (level, width)}, the grid of level n being 2^n times coarser than the latent's.
    widths: channels at each level. patch: pixels along a latent cell's side. operations: where the
    layers come from, PyTorch or the host.
    """

    def __init__(
        self,
        layers: Mapping[str, Sequence[int]],
        widths: Sequence[int],
        patch: int,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.patch, self.levels = patch, {name: level for name, (level, _) in layers.items()}
        before = [3 * patch * patch, *widths[:-1]]
        self.enter = nn.ModuleList(
            operations.Conv2d(a, b, 3, stride=1 if k == 0 else 2, padding=1)
            for k, (a, b) in enumerate(zip(before, widths, strict=True))
        )
        self.more = nn.ModuleList(operations.Conv2d(w, w, 3, padding=1) for w in widths)
        self.leave = nn.ModuleDict(
            {
                _key(name): operations.Conv2d(widths[level], width, 1)
                for name, (level, width) in layers.items()
            }
        )
        for last in self.leave.values():
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, pose: Tensor) -> dict[str, Tensor]:
        height, width = pose.shape[-2:]
        pose = F.pad(pose, (0, -width % self.patch, 0, -height % self.patch))
        x, features = F.pixel_unshuffle(pose, self.patch), []
        for enter, more in zip(self.enter, self.more, strict=True):
            x = F.silu(enter(x))
            x = x + F.silu(more(x))
            features.append(x)
        return {
            name: self.leave[_key(name)](features[level]) for name, level in self.levels.items()
        }


def _key(layer: str) -> str:
    return layer.replace(".", "_")


def layers_of(base: Mapping[str, Mapping[str, Tensor]]) -> dict[str, tuple[int, int]]:
    """{layer: (level, width)} of a model, from its host's `cross_attention_weights`: a transformer
    block's self-attention is as wide as its cross-attention.
    """
    deepest = max(
        (int(name.split(".")[1]) for name in base if name.startswith(("down", "up"))), default=0
    )

    def level(name: str) -> int:
        where, number = name.split(".")[:2]
        return {"down": int(number), "up": deepest - int(number)}.get(where, deepest)

    return {name: (level(name), own["to_q"].shape[1]) for name, own in base.items()}


@dataclass(frozen=True)
class PoseBranch:
    """net: float32, on the CPU. layers: of the model that it was trained beside."""

    net: PoseNet
    layers: dict[str, tuple[int, int]]

    def features(
        self, drawing: Tensor, base: Mapping[str, Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """What is added for drawings [P, H, W, 3], 0..1, to the model with these layers (see
        `layers_of`). Raises ValueError when the branch belongs to another model.
        """
        found = layers_of(base)
        if found != self.layers:
            widths = [sorted({w for _, w in one.values()}) for one in (self.layers, found)]
            raise ValueError(
                f"This pose branch was trained beside a model with {len(self.layers)} attention "
                f"layers of width {widths[0]}; this model has {len(found)} of width {widths[1]}. "
                "Choose the branch of this model, or none and a ControlNet."
            )
        with torch.no_grad():
            return self.net(drawing.float().movedim(-1, 1))


def load_pose_branch(path: Path) -> PoseBranch:
    """Opens a branch. Raises ValueError naming the file, what was expected and what came."""
    config, tensors = weights.read_kind(Path(path), BRANCHES)
    try:
        net = PoseNet(**config["net"])
        net.load_state_dict({name: t.float() for name, t in tensors["branch"].items()})
        layers = {name: (int(a), int(b)) for name, (a, b) in config["net"]["layers"].items()}
        return PoseBranch(net.requires_grad_(False).train(False), layers)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error
