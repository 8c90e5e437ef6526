"""A small face-embedding network: what makes two pictures of one person alike.

Our design: a residual network for 64x64 crops, trained on synthetic people only, so that nothing
non-commercial is needed. Any other embedding can take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import weights
from .face_finder import Face, FaceFinder, find_faces

CROP = 64
FACES = weights.Kind(
    "a face model",
    "Face Encoder",
    "models/mannequin/faces",
    ("face", "finder"),
    ("family", "widths", "dimension", "finder", "alike"),
    {"family": ("mannequin-tiny-face",)},
)


class _Block(nn.Module):
    """Halves the picture and doubles what is known of it."""

    def __init__(self, before: int, after: int, operations: Any) -> None:
        super().__init__()
        self.first = operations.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.norm1 = operations.GroupNorm(8, after)
        self.second = operations.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = operations.GroupNorm(8, after)
        self.short = operations.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.second(F.silu(self.norm1(self.first(x)))))
        return F.silu(h + self.short(F.avg_pool2d(x, 2)))


class FaceNet(nn.Module):
    """picture [B, 3, 64, 64] -1..1 -> embedding [B, dimension], not normalised.

    widths: channels at 64, 32, 16, 8 and 4 pixels, multiples of 8. Other sizes are resized.
    operations: where the layers come from, PyTorch or the host.
    """

    def __init__(self, widths: Sequence[int], dimension: int, operations: Any = nn) -> None:
        super().__init__()
        self.enter = operations.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(_Block(a, b, operations) for a, b in pairwise(widths))
        self.leave = operations.Linear(widths[-1] * (CROP >> (len(widths) - 1)) ** 2, dimension)

    def forward(self, picture: Tensor) -> Tensor:
        if picture.shape[-2:] != (CROP, CROP):
            picture = F.interpolate(picture, (CROP, CROP), mode="bilinear", antialias=True)
        h = F.silu(self.enter(picture))
        for block in self.blocks:
            h = block(h)
        return self.leave(h.flatten(1))


@dataclass(frozen=True)
class FaceModel:
    """What tells people apart, and what finds their faces; float32, on the CPU.

    name: of the family, by which adapters know it. alike: the cosine below which two pictures are
    probably not of one person, see `lab/training/face.py`.
    """

    name: str
    alike: float
    net: FaceNet
    finder: FaceFinder

    @torch.inference_mode()
    def embed(self, pictures: Tensor) -> Tensor:
        """Crops [R, H, W, 3], 0..1 -> vectors [R, 1, D], not normalised."""
        return self.net(pictures.float().movedim(-1, 1) * 2 - 1).unsqueeze(1)

    def find(self, picture: Tensor) -> list[Face]:
        """The faces of a picture [H, W, 3], 0..1, the largest first."""
        return find_faces(self.finder, picture)


def load_face_model(path: Path) -> FaceModel:
    """Opens a face model. Raises ValueError naming the file, what was expected and what came."""
    config, tensors = weights.read_kind(Path(path), FACES)
    try:
        net = FaceNet(config["widths"], config["dimension"])
        finder = FaceFinder(**config["finder"])
        for module, room in ((net, "face"), (finder, "finder")):
            module.load_state_dict(tensors[room])
            module.requires_grad_(False).train(False)
        return FaceModel(config["family"], float(config["alike"]), net, finder)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error
