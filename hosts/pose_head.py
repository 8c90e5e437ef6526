"""Where a person's joints are in a latent, differentiably; and the file of head and pose field.

Our design (arXiv 2310.16074 does not say how a pose is read from a prediction). The head reads the
predicted clean latent itself, so that a gradient reaches it without decoding a picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..methods.pose_field import POINTS, PoseField
from . import weights

POSES = weights.Kind(
    "a pose model",
    "Pose Guidance",
    "models/mannequin/poses",
    ("head", "field"),
    ("family", "families", "latent_scale", "head", "field"),
    {"family": ("mannequin-pose",)},
)
BATCH = 64


class KeypointHead(nn.Module):
    """Latents [B, C, h, w] -> points [B, 18, 3]: x and y in pixels of the picture, and how likely
    the point is seen, 0..1.

    Every point has a map of its own; its softmax, averaged over the cells' middles, is the place
    (soft argmax), so a point that is not in the picture is still put into it: mind its confidence.
    widths: channels at one, two and four cells and so on, multiples of 8. downscale: pixels along
    a latent cell's side. operations: where the layers come from, PyTorch or the host.
    """

    def __init__(
        self,
        latent_channels: int,
        downscale: int,
        widths: Sequence[int] = (48, 64, 96),
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.downscale = downscale

        def layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
            conv = operations.Conv2d(before, after, 3, stride=stride, padding=1)
            return nn.Sequential(conv, operations.GroupNorm(8, after), nn.SiLU())

        pairs = list(pairwise(widths))
        self.enter = layer(latent_channels, widths[0])
        self.down = nn.ModuleList(nn.Sequential(layer(a, b, 2), layer(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(layer(a + b, a) for a, b in pairs)
        self.leave = operations.Conv2d(widths[0], 2 * POINTS, 1)

    def forward(self, latents: Tensor) -> Tensor:
        return self.points(*self.maps(latents))

    def maps(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the places, and of being seen there, each [B, 18, h, w]."""
        kept = [self.enter(latents)]
        for step in self.down:
            kept.append(step(kept[-1]))
        x = kept.pop()
        for up, level in zip(reversed(self.up), reversed(kept), strict=True):
            grown = F.interpolate(x, level.shape[-2:], mode="nearest")
            x = up(torch.cat([level, grown], 1))
        return self.leave(x).chunk(2, 1)

    def points(self, places: Tensor, seen: Tensor) -> Tensor:
        """[B, 18, 3] from the logits of `maps`."""
        share = places.flatten(2).softmax(-1)
        at = share @ self.middles(*places.shape[-2:], places)
        sure = (share * seen.flatten(2)).sum(-1, keepdim=True).sigmoid()
        return torch.cat([at, sure], -1)

    def middles(self, height: int, width: int, like: Tensor) -> Tensor:
        """Middles of the cells in pixels, x and y, [height * width, 2]."""
        y, x = (
            (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) * self.downscale
            for n in (height, width)
        )
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)


@dataclass(frozen=True)
class PoseModel:
    """head, field: float32, on the CPU, not to be trained. config: "families", the models whose
    latents the head reads (as in their own files), "latent_scale", by which these multiply what
    their VAE gives, and the two networks' shapes.
    """

    config: dict[str, Any]
    head: KeypointHead
    field: PoseField
    provenance: dict[str, Any]

    def check(self, model: Mapping[str, Any]) -> None:
        """Raises ValueError unless the head reads the latents of this model (a host's
        `model_config`).
        """
        family, families = model.get("family"), self.config["families"]
        own = self.config["head"]
        same = all(model.get(key) == own[key] for key in ("latent_channels", "downscale"))
        scale, wanted = model.get("latent_scale", math.nan), self.config["latent_scale"]
        if family not in families or not same or not math.isclose(scale, wanted, rel_tol=1e-5):
            raise ValueError(
                f"This pose model reads latents of {' or '.join(families)} "
                f"({own['latent_channels']} channels, {own['downscale']} pixels along a cell, "
                f"scale {wanted:g}); got a model of {family or 'another family'} "
                f"({model.get('latent_channels')} channels, {model.get('downscale')} pixels, scale "
                f"{scale:g}). Choose a pose model that was trained for this model, or leave Pose "
                "Guidance out."
            )

    @torch.no_grad()
    def measure(self, latents: Tensor) -> Tensor:
        """Points [B, 18, 3], in pixels, of latents [B, C, h, w] as the model's VAE gives them.
        Raises ValueError for another number of channels.
        """
        channels = self.config["head"]["latent_channels"]
        if latents.ndim != 4 or latents.shape[1] != channels:
            raise ValueError(
                f"Expected latents of {channels} channels; got {list(latents.shape)}. Use the VAE "
                f"of {' or '.join(self.config['families'])}."
            )
        parts = (latents.detach().float().cpu() * self.config["latent_scale"]).split(BATCH)
        return torch.cat([self.head(part) for part in parts])


def build(config: Mapping[str, Any], operations: Any = nn) -> tuple[KeypointHead, PoseField]:
    """The networks of a configuration with "head" and "field"."""
    head = KeypointHead(**config["head"], operations=operations)
    return head, PoseField(**config["field"], operations=operations)


def write_pose_model(
    path: Path,
    config: Mapping[str, Any],
    head: Mapping[str, Tensor],
    field: Mapping[str, Tensor],
    provenance: Mapping[str, Any],
) -> None:
    """Writes `head.*` and `field.*` in half precision, atomically.

    config: "families" (whose latents), "latent_scale" (of these), "head" and "field" (arguments of
    the networks).
    """
    path = Path(path)
    tensors = {
        f"{room}.{name}": t.detach().to(torch.float16).contiguous()
        for room, state in (("head", head), ("field", field))
        for name, t in state.items()
    }
    metadata = {
        "mannequin": json.dumps({"family": "mannequin-pose", **config}),
        "provenance": json.dumps(dict(provenance)),
        "format": "pt",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)


def read_pose_model(path: Path) -> PoseModel:
    """Opens a pose model. Raises ValueError naming the file, what was expected and what came."""
    path = Path(path)
    with torch.inference_mode(False):
        config, tensors = weights.read_kind(path, POSES)
        try:
            head, field = build(config)
            for net, room in ((head, "head"), (field, "field")):
                net.load_state_dict({name: t.float() for name, t in tensors[room].items()})
                net.requires_grad_(False).train(False)
        except (RuntimeError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: the weights do not fit their configuration: {error}"
            ) from error
    with safe_open(path, framework="pt") as file:
        provenance = json.loads(file.metadata().get("provenance", "{}"))
    return PoseModel(config, head, field, provenance)
