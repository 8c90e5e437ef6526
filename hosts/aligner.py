"""The recurrent aligner's network and its file; see `methods.reposedm`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..methods.alignment import Alignment, correlation, look_up, moved, soft_match
from ..methods.flow import identity
from . import weights

FAMILY = "mannequin-tiny-aligner"
ALIGNERS = weights.Kind(
    "a recurrent aligner",
    "Recurrent Pose Aligner",
    "models/mannequin/aligners",
    ("aligner",),
    ("family", "net", "model"),
    {"family": (FAMILY,)},
)
MODEL = ("dense_pose", "latent_channels", "downscale", "unet_encoder")
SHARPNESS = 40.0  # of the first match, before training
STILL = 4.0  # the gate's first logit where there is no pose, and less than none where there is
SLIGHT = 0.1  # how much of what is compared is not the poses themselves, before training
SURE = 2.0  # the first confidence's logit
NEAR = 8.0  # cells: ways are told in this unit


class Encoder(nn.Module):
    """[P, C, h, w] -> [P, W, h, w]; sees about fifteen cells, and where in the picture it is."""

    def __init__(self, channels: int, width: int, operations: Any) -> None:
        super().__init__()
        self.enter = operations.Conv2d(channels + 2, width, 3, padding=1)
        self.down = operations.Conv2d(width, width, 3, stride=2, padding=1)
        self.low = operations.Conv2d(width, width, 3, padding=1)
        self.up = operations.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        place = identity(*x.shape[-2:], x).movedim(-1, 0).expand(len(x), -1, -1, -1)
        fine = F.silu(self.enter(torch.cat([x, place], 1)))
        low = F.silu(self.low(F.silu(self.down(fine))))
        low = F.interpolate(low, fine.shape[-2:], mode="bilinear", align_corners=False)
        return F.silu(self.up(torch.cat([fine, low], 1)))


class ConvGRU(nn.Module):
    """h, x -> h' [P, hidden, h, w] (RAFT, arXiv 2003.12039, section 3.3, equations 3 to 6)."""

    def __init__(self, hidden: int, inputs: int, operations: Any) -> None:
        super().__init__()
        self.gates = operations.Conv2d(hidden + inputs, 2 * hidden, 3, padding=1)
        self.new = operations.Conv2d(hidden + inputs, hidden, 3, padding=1)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        update, reset = self.gates(torch.cat([h, x], 1)).sigmoid().chunk(2, 1)
        new = self.new(torch.cat([reset * h, x], 1)).tanh()
        return (1 - update) * h + update * new


class AlignerNet(nn.Module):
    """Where each place of the target's pose is in the source (our design, after RAFT).

    Compared are the dense poses themselves and, beside them, what training finds in them, in source
    and target alike, and in the source's texture, which an unknown pose leaves to guess from. The
    first flow is the soft match of all pairs, or "where it was" for places without a pose (the
    background), as a gate decides. Every iteration, with the same weights: what lies around the
    present flow in the match, the source's features fetched by it, and the flow itself go into a
    ConvGRU, whose state gives the residual flow and the confidence.

    layers: {layer: width} of the model's reference features. latent_channels, pose_channels: of
    texture and dense poses. level: the grid that it works on is 2^level times coarser than the
    target's latent. hidden, width, embedding: channels of the state, of the encoders, and of what
    is compared beside the poses. radius, levels: of the look-up. operations: where the layers come
    from, PyTorch or the host.
    """

    def __init__(
        self,
        layers: Mapping[str, int],
        latent_channels: int,
        pose_channels: int,
        level: int = 0,
        hidden: int = 32,
        width: int = 32,
        embedding: int = 32,
        radius: int = 2,
        levels: int = 2,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.level, self.radius, self.levels = level, radius, levels
        conv = operations.Conv2d
        self.pose = Encoder(pose_channels, width, operations)
        self.texture = Encoder(latent_channels + pose_channels, width, operations)
        self.match = conv(width, embedding, 1)
        self.guess = conv(width, embedding, 1)
        self.begin = conv(width + pose_channels, 2 * hidden + 1, 1)
        self.sharpness = nn.Parameter(torch.tensor(math.log(SHARPNESS)))
        looked = levels * (2 * radius + 1) ** 2
        self.look = conv(looked + width + 6, hidden, 1)
        self.gru = ConvGRU(hidden, 2 * hidden, operations)
        self.tell = conv(hidden, hidden, 3, padding=1)
        self.change = conv(hidden, 3, 1)
        self.leave = nn.ModuleDict(
            {_key(name): conv(hidden, wide, 1) for name, wide in layers.items()}
        )
        for last in (self.guess, self.change, *self.leave.values()):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        with torch.no_grad():
            self.match.weight *= SLIGHT

    def forward(
        self, texture: Tensor, source_pose: Tensor, target_pose: Tensor, iterations: int
    ) -> Alignment:
        """texture [P, C, h, w] (reference latents), source_pose [P, D, h, w], target_pose [P, D,
        h', w'] -> `Alignment` on the target's grid. Raises ValueError for fewer than 1 iteration.
        """
        if iterations < 1:
            raise ValueError(f"Expected at least 1 iteration, got {iterations}.")
        texture, source_pose, target_pose = (
            F.adaptive_avg_pool2d(x.to(self.sharpness), self._grid(x))
            for x in (texture, source_pose, target_pose)
        )
        source = self.texture(torch.cat([texture, source_pose], 1))
        known, target = self.pose(source_pose), self.pose(target_pose)
        likeness = correlation(
            torch.cat([target_pose, self.match(target)], 1),
            torch.cat([source_pose, self.match(known) + self.guess(source)], 1),
        )
        h, w = target.shape[-2:]
        here = identity(h, w, target).expand(len(target), -1, -1, -1)
        cell = target.new_tensor([2 / w, 2 / h])
        match, sure = soft_match(likeness, self.sharpness.exp())
        match, sure = match.unflatten(1, (h, w)), sure.unflatten(1, (1, h, w))
        hidden = self.gru.new.out_channels
        begun = self.begin(torch.cat([target, target_pose], 1))
        state, context, stays = begun.split([hidden, hidden, 1], 1)
        posed = target_pose.norm(dim=1, keepdim=True).clamp_max(1)
        stays = stays + STILL * (1 - 2 * posed)
        state, context = state.tanh(), F.silu(context)
        start = torch.lerp(match, here, stays.sigmoid().movedim(1, -1))
        xy, flows, logits = start, [], []
        for _ in range(iterations):
            xy = xy.detach()
            ways = torch.cat([(xy - here) / cell, (match.detach() - xy) / cell], -1).movedim(-1, 1)
            near = look_up(likeness, xy, self.radius, self.levels)
            seen = torch.cat([near, moved(source, xy), ways / NEAR, sure, stays], 1)
            state = self.gru(state, torch.cat([F.silu(self.look(seen)), context], 1))
            change = self.change(F.silu(self.tell(state)))
            xy = xy + change[:, :2].movedim(1, -1) * cell
            flows.append(xy)
            logits.append(change[:, 2] + SURE)
        return Alignment(start, torch.stack(flows), torch.stack(logits), state)

    def _grid(self, x: Tensor) -> tuple[int, int]:
        return tuple(-(-n // 2**self.level) for n in x.shape[-2:])

    def residual(self, hidden: Tensor, layer: str) -> Tensor:
        """What a layer's aligned tokens are told [P, C, h, w] of the state [P, hidden, h, w].
        Raises ValueError for a layer that the training's model did not have.
        """
        if _key(layer) not in self.leave:
            raise ValueError(
                f"No aligner was trained for a model with a layer {layer}: this one knows "
                f"{', '.join(sorted(self.leave)).replace('_', '.')}. Choose the aligner of this "
                "model, or Flow-Guided Attention, which needs none."
            )
        return self.leave[_key(layer)](hidden)


def _key(layer: str) -> str:
    return layer.replace(".", "_")


@dataclass(frozen=True)
class Aligner:
    """config: as in the file: family, base (the model's name), net (`AlignerNet`'s arguments),
    model (what of the model's configuration must be the same). net: float32, on the CPU.
    """

    config: dict[str, Any]
    net: AlignerNet
    provenance: dict[str, Any]

    def check(self, model: Mapping[str, Any]) -> None:
        """Raises ValueError unless the aligner was trained for a model of that configuration (see
        the hosts' `model_config`).
        """
        wanted = self.config["model"]
        other = [key for key in MODEL if _plain(model.get(key)) != _plain(wanted[key])]
        if other:
            raise ValueError(
                f"No aligner was trained for this model: this one belongs to "
                f"{self.config.get('base', 'another model')}; of the model connected, "
                f"{', '.join(other)} differ. Choose the aligner of this model, or use Flow-Guided "
                "Attention, which needs none."
            )


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(value))


def aligner_config(
    model: Mapping[str, Any], layers: Mapping[str, int], **net: int
) -> dict[str, Any]:
    """The configuration of an aligner for a model: its own configuration, and {layer: width} of
    its reference features. net: further arguments of `AlignerNet`.
    """
    pose = model["unet_encoder"]["in_channels"] - model["latent_channels"]
    shape = {"latent_channels": model["latent_channels"], "pose_channels": pose}
    return {
        "family": FAMILY,
        "base": model.get("family", "person model"),
        "net": {"layers": dict(layers), **shape, **net},
        "model": {key: model[key] for key in MODEL},
    }


def read_aligner(path: Path) -> Aligner:
    """Opens an aligner. Raises ValueError naming the file, what was expected and what came."""
    config, tensors = weights.read_kind(Path(path), ALIGNERS)
    try:
        with torch.inference_mode(False):
            net = AlignerNet(**config["net"])
            net.load_state_dict({name: t.float() for name, t in tensors["aligner"].items()})
        lacking = [key for key in MODEL if key not in config["model"]]
        if lacking:
            raise KeyError(", ".join(lacking))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error
    with safe_open(path, framework="pt") as file:
        provenance = json.loads(file.metadata().get("provenance", "{}"))
    return Aligner(config, net.requires_grad_(False).train(False), provenance)


def write_aligner(path: Path, aligner: Aligner) -> None:
    """Writes an aligner in half precision; the file appears only when it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"aligner.{name}": t.detach().half().contiguous()
        for name, t in aligner.net.state_dict().items()
    }
    about = {
        "mannequin": json.dumps(aligner.config),
        "provenance": json.dumps(aligner.provenance),
        "format": "pt",
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, about)
    partial.replace(path)
