"""What a trained mixture of attention consists of: experts, routers, and what binds a picture to a
word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .pva import ROOMS, FaceEmbedding, Projections
from .routes import Subject

KINDS = ("self", "cross")
WAVES, PLACES = 4, 3


@dataclass(frozen=True)
class MoAWeights:
    """config: family "moa", base (the model's name), embedding and dimension (of the face vectors),
    width (of the text's tokens), layers (ids, as they run). tensors:

    - `expert.LAYER.KIND.to_q | to_k | to_v`: Q', K', V' of the personalised expert;
    - `expert.LAYER.cross.place`: what is added to Q' for where a pixel is, see `places`;
    - `router.LAYER.KIND.norm | enter | leave.weight | bias`: from a layer's input to two logits;
    - `binder.*`: the MLP that binds a picture to a word, see `bind`.

    provenance: what its file says about the making.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.config["layers"])

    def expert(self, layer: str, kind: str) -> Projections:
        """Q', K', V' of one layer's personalised expert."""
        return Projections(*(self.tensors[f"expert.{layer}.{kind}.{room}"] for room in ROOMS))

    def branch(self, kind: str) -> dict[str, Projections]:
        """All personalised experts of a kind, by layer."""
        return {layer: self.expert(layer, kind) for layer in self.layers}

    def check(self, base: Mapping[str, Projections]) -> None:
        """Raises ValueError unless these are for a model with the cross-attentions `base`."""
        trained = self.config.get("base", "another model")
        lacking = sorted(names(self.layers) - set(self.tensors))
        if lacking:
            raise ValueError(
                f"This router file lacks {len(lacking)} of its tensors, {lacking[0]} among them. "
                "Copy or save it again."
            )
        wrong = [
            f"{layer}.{room} is {list(mine.shape)} there and {list(theirs.shape)} here"
            for layer in self.layers
            if layer in base
            for room in ROOMS
            for mine, theirs in [
                (getattr(self.expert(layer, "cross"), room), getattr(base[layer], room))
            ]
            if mine.shape != theirs.shape
        ]
        if set(self.layers) != set(base) or wrong:
            raise ValueError(
                f"This router was trained for {trained} with {len(self.layers)} cross-attention "
                f"layers; this model has {len(base)}"
                + (f", and {wrong[0]}" if wrong else "")
                + ". Use the model that it was trained for, or the training-free mode with an "
                "adapter for this one."
            )

    def check_subject(self, subject: Subject) -> None:
        """Raises ValueError for faces of another network than the router was trained with."""
        faces, wanted = subject.faces, self.config["dimension"]
        trained = self.config.get("embedding", "another network")
        if faces.vectors.shape[-1] != wanted or faces.source != trained:
            raise ValueError(
                f"This router was trained with faces of {trained} ({wanted} numbers each); the "
                f"subject {subject.word!r} has those of {faces.source} with "
                f"{faces.vectors.shape[-1]}. Choose that face model in Face Encoder."
            )


def names(layers: tuple[str, ...]) -> set[str]:
    """The tensors that a file for these layers must have."""
    parts = [f"expert.{{}}.{room}" for room in ROOMS]
    parts += [
        f"router.{{}}.{part}.{what}"
        for part in ("norm", "enter", "leave")
        for what in ("weight", "bias")
    ]
    wanted = {
        part.format(f"{layer}.{kind}") for layer in layers for kind in KINDS for part in parts
    }
    rooms = ("picture", "norm", "enter", "leave")
    wanted |= {f"binder.{room}.{what}" for room in rooms for what in ("weight", "bias")}
    wanted |= {f"expert.{layer}.cross.place" for layer in layers}
    return wanted | {"binder.time.weight", "binder.place.weight", "binder.layer"}


def rooms(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by what uses them: `binder`, `expert.LAYER.KIND` and `router.LAYER.KIND`."""
    out: dict[str, dict[str, Tensor]] = {}
    for name, t in tensors.items():
        parts = name.split(".")
        first = {"binder": 1, "expert": len(parts) - 1}.get(parts[0], len(parts) - 2)
        out.setdefault(".".join(parts[:first]), {})[".".join(parts[first:])] = t
    return out


def picture_feature(faces: FaceEmbedding) -> Tensor:
    """What is known of a person from all pictures, [D]: the mean of the face vectors, each brought
    to the length sqrt(D).
    """
    vectors = faces.vectors.float().flatten(0, -2)
    return F.normalize(vectors, dim=-1).mean(0) * math.sqrt(vectors.shape[-1])


def waves(sigma: Tensor) -> Tensor:
    """Noise levels [B] >= 0 as sines and cosines of atan(sigma), [B, 2 WAVES]: the same for every
    host, and finite where there is nothing but noise.
    """
    angle = torch.atan(sigma.float())[:, None] * 2.0 ** torch.arange(WAVES, device=sigma.device)
    return torch.cat([angle.sin(), angle.cos()], -1)


def places(at: Tensor) -> Tensor:
    """Places 0..1 along the picture [...] as sines and cosines, [..., 2 PLACES]."""
    angle = at.float()[..., None] * math.pi * 2.0 ** torch.arange(PLACES, device=at.device)
    return torch.cat([angle.sin(), angle.cos()], -1)


def grid_places(grid: tuple[int, int]) -> Tensor:
    """`places` of the middles of all cells (h, w), across and down: [h * w, 4 PLACES]."""
    down, across = ((torch.arange(n) + 0.5) / n for n in grid)
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    return torch.cat([places(columns), places(rows)], -1).flatten(0, 1)


def bind(
    tensors: Mapping[str, Tensor],
    words: Tensor,
    features: Tensor,
    sigma: Tensor,
    across: Tensor,
    layer: int,
) -> Tensor:
    """The multimodal prompt's token: word + MLP([word; picture + time + layer + place]).

    tensors: `picture`, `norm`, `enter`, `leave` (weight, bias), `time.weight`, `place.weight`,
    `layer`, in the type of the words [K, W]; features [K, D]; sigma [K]; across [K], 0..1: where
    the person stands. Returns [K, W]. The word is added, and the last matrix starts at zero, so
    that training begins at the prior; the place is told because two words that differ in nothing
    else could not be kept apart (our design).
    """
    shown = F.linear(features.to(words), tensors["picture.weight"], tensors["picture.bias"])
    moment = F.linear(waves(sigma).to(words), tensors["time.weight"]) + tensors["layer"][layer]
    stands = F.linear(places(across).to(words), tensors["place.weight"])
    x = torch.cat([words, shown + moment + stands], -1)
    x = F.layer_norm(x, x.shape[-1:], tensors["norm.weight"], tensors["norm.bias"])
    hidden = F.silu(F.linear(x, tensors["enter.weight"], tensors["enter.bias"]))
    return words + F.linear(hidden, tensors["leave.weight"], tensors["leave.bias"])


def route(tensors: Mapping[str, Tensor], n: Tensor, temperature: float = 1.0) -> Tensor:
    """R = softmax(router(n) / temperature) over (prior, personalised): [B, N, C] -> [B, N, 2].

    tensors: `norm`, `enter`, `leave` (weight, bias), in the type of n.
    """
    x = F.layer_norm(n, n.shape[-1:], tensors["norm.weight"], tensors["norm.bias"])
    x = F.silu(F.linear(x, tensors["enter.weight"], tensors["enter.bias"]))
    logits = F.linear(x, tensors["leave.weight"], tensors["leave.bias"])
    return (logits / temperature).softmax(-1)


def new_weights(
    own: Mapping[str, Mapping[str, Projections]],
    base: str,
    embedding: str,
    dimension: int,
    hidden: int = 32,
) -> MoAWeights:
    """Untrained weights, with which a model is what it was: the experts are copies, the routers
    give half to each, the words stay.

    own: {layer: {"self": Projections, "cross": Projections}} of the model, in the order in which
    they run; base: the model's name; embedding, dimension: of the face vectors; hidden: width of
    the routers.
    """
    layers = tuple(own)
    width = own[layers[0]]["cross"].to_k.shape[1]
    tensors: dict[str, Tensor] = {}

    def linear(name: str, inside: int, outside: int, scale: float = 1.0) -> None:
        tensors[f"{name}.weight"] = torch.randn(outside, inside) * scale / math.sqrt(inside)
        tensors[f"{name}.bias"] = torch.zeros(outside)

    def norm(name: str, channels: int) -> None:
        tensors[f"{name}.weight"] = torch.ones(channels)
        tensors[f"{name}.bias"] = torch.zeros(channels)

    for layer in layers:
        for kind in KINDS:
            for room in ROOMS:
                weight = getattr(own[layer][kind], room).detach().float().clone()
                tensors[f"expert.{layer}.{kind}.{room}"] = weight
            channels = own[layer][kind].to_q.shape[1]
            if kind == "cross":
                rows = len(own[layer][kind].to_q)
                tensors[f"expert.{layer}.{kind}.place"] = torch.zeros(rows, 4 * PLACES)
            norm(f"router.{layer}.{kind}.norm", channels)
            linear(f"router.{layer}.{kind}.enter", channels, hidden)
            linear(f"router.{layer}.{kind}.leave", hidden, 2, 0.0)
    linear("binder.picture", dimension, width)
    norm("binder.norm", 2 * width)
    linear("binder.enter", 2 * width, 2 * width)
    linear("binder.leave", 2 * width, width, 0.0)
    tensors["binder.time.weight"] = torch.randn(width, 2 * WAVES) * 0.1
    tensors["binder.place.weight"] = torch.randn(width, 2 * PLACES) * 0.3
    tensors["binder.layer"] = torch.randn(len(layers), width) * 0.1
    config = {
        "family": "moa",
        "base": base,
        "embedding": embedding,
        "dimension": dimension,
        "width": width,
        "layers": list(layers),
    }
    return MoAWeights(config, tensors)
