"""What personalises a frozen model: PVA's branch, its identity encoder and a learned word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from .identity import IdentityEncoder, Resampler
from .pva import ROOMS, FaceEmbedding, Projections

WORD = "<new1>"
VECTORS, RESAMPLER = "vectors", "resampler"
CLIP_VISION = "clip-vision-"


@dataclass(frozen=True)
class PersonAdapter:
    """config: what it was made for and how it is built, see `new_adapter`. tensors:
    `branch.LAYER.to_q | to_k | to_v`, `identity.*`, when a word was learned `word`, and in a
    personal adapter `vectors`, so that it needs no pictures. consent, provenance: what its file
    says about the person and the making.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    consent: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def personal(self) -> bool:
        """Whether it was tuned for one person."""
        return bool(self.config.get("personal"))

    @property
    def word(self) -> Tensor | None:
        """The learned vector of WORD, [width of the word embeddings]."""
        return self.tensors.get("word")

    @property
    def vectors(self) -> Tensor | None:
        """The person's own face vectors, [R, T, D]."""
        return self.tensors.get("vectors")

    def about(self) -> str:
        """What the file says, in lines for people."""
        said = {
            "for": self.config.get("base", "unknown"),
            "faces": self.config.get("embedding", "unknown"),
            "person": "one, tuned" if self.personal else "any",
            **self.consent,
            **self.provenance,
        }
        return "\n".join(f"{name}: {value}" for name, value in said.items() if value != "")

    def branch(self, base: Mapping[str, Projections]) -> dict[str, Projections]:
        """Q', K', V' per layer; what the file lacks (IP-Adapter has no queries) is the base's.

        base: the model's own cross-attentions. Raises ValueError when the layers are not the
        model's.
        """
        stored = self._stored(base)
        wrong = [
            f"{layer}.{room} is {list(t.shape)} there and {list(getattr(base[layer], room).shape)} "
            "here"
            for layer, rooms in stored.items()
            if layer in base
            for room, t in rooms.items()
            if t.shape != getattr(base[layer], room).shape
        ]
        if set(stored) != set(base) or wrong:
            raise ValueError(
                f"This adapter was trained for {self.config.get('base', 'another model')} with "
                f"{len(stored)} cross-attention layers; this model has {len(base)}"
                + (f", and {wrong[0]}" if wrong else "")
                + ". Use the model that it was trained for, or an adapter for this one."
            )
        return {
            layer: Projections(
                *(
                    stored[layer][room].float() if room in stored[layer] else getattr(own, room)
                    for room in ROOMS
                )
            )
            for layer, own in base.items()
        }

    def _stored(self, base: Mapping[str, Projections]) -> dict[str, dict[str, Tensor]]:
        """The branch's tensors by layer; files that only number their layers go by the order of
        the base's.
        """
        out: dict[str, dict[str, Tensor]] = {}
        for name, t in self.tensors.items():
            if name.startswith("branch."):
                layer, room = name.removeprefix("branch.").rsplit(".", 1)
                out.setdefault(layer, {})[room] = t
        if self.config.get("numbered"):
            names = sorted(base, key=_order)
            out = {names[int(i)] if int(i) < len(names) else i: rooms for i, rooms in out.items()}
        return out

    def encoder(self, operations: Any = nn) -> nn.Module:
        """The identity encoder with its weights, in float32."""
        config = dict(self.config["identity"])
        kind = config.pop("kind")
        with torch.device("meta"):
            made = {VECTORS: IdentityEncoder, RESAMPLER: Resampler}[kind](
                **config, operations=operations
            )
        with torch.inference_mode(False):  # also for tensors that a graph made in inference mode
            weights = {
                name.removeprefix("identity."): t.to(torch.float32, copy=True)
                for name, t in self.tensors.items()
                if name.startswith("identity.")
            }
            made.load_state_dict(weights, assign=True)
        return made.requires_grad_(False).train(False)

    @torch.no_grad()
    def tokens(self, vectors: Tensor) -> Tensor:
        """The identity tokens [1, T, width] of one person's vectors [R, T, D]."""
        self.check_vectors(vectors)
        with torch.inference_mode(False):
            vectors = vectors.to(torch.float32, copy=True)
            if self.config["identity"]["kind"] == RESAMPLER:
                return self.encoder()(vectors).flatten(0, 1).unsqueeze(0)
            return self.encoder()(vectors.flatten(0, 1).unsqueeze(0))

    def check_vectors(self, vectors: Tensor, source: str | None = None) -> None:
        """Raises ValueError for vectors of another network than the adapter was trained with."""
        wanted = self.config["identity"]["dimension"]
        trained = self.config.get("embedding", "another network")
        if vectors.shape[-1] != wanted or (source is not None and source != trained):
            advice = (
                "Connect the CLIP Vision that it was trained with to Face Encoder."
                if trained.startswith(CLIP_VISION)
                else "Choose that face model in Face Encoder, without CLIP Vision."
            )
            raise ValueError(
                f"This adapter was trained with faces of {trained} ({wanted} numbers each); got "
                f"{source or 'faces'} with {vectors.shape[-1]}. {advice}"
            )

    def with_tensors(self, tensors: Mapping[str, Tensor], **config: Any) -> PersonAdapter:
        """A copy with other tensors and configuration entries."""
        return replace(
            self,
            tensors={**self.tensors, **tensors},
            config={**self.config, **config},
        )


def _order(layer: str) -> tuple[int, ...]:
    """Down, up, middle, as diffusers lists a UNet's attentions."""
    where, *numbers = layer.split(".")
    return ("down", "up", "mid").index(where), *map(int, numbers)


def image_prompt_adapter(tensors: Mapping[str, Tensor]) -> PersonAdapter:
    """IP-Adapter's "plus" files (arXiv 2308.06721) as the starting point of a branch: its K' and
    V', the model's own queries, its projection of image tokens. Used so, one softmax covers text
    and face, which the file was not trained for: expect to tune it (our design).

    tensors: `image_proj.*` and `ip_adapter.N.to_k_ip.weight`, `to_v_ip`. Raises ValueError for
    other files, the plain ones without a resampler among them.
    """
    start, rooms = "ip_adapter.", {"to_k_ip.weight": "to_k", "to_v_ip.weight": "to_v"}
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith(start)})
    latents = tensors.get("image_proj.latents")
    if not numbers or latents is None:
        raise ValueError(
            "Expected an adapter of this pack or an IP-Adapter plus file (plus-face for faces); "
            f"got a file with {', '.join(sorted({n.split('.')[0] for n in tensors})[:4])}. "
            "Choose another file."
        )
    width, dimension = tensors["image_proj.proj_in.weight"].shape
    out = tensors["image_proj.proj_out.weight"].shape[0]
    depth = 1 + max(
        int(name.split(".")[2]) for name in tensors if name.startswith("image_proj.layers.")
    )
    kept = {
        f"identity.{name.removeprefix('image_proj.')}": t
        for name, t in tensors.items()
        if name.startswith("image_proj.")
    }
    for place, number in enumerate(numbers):
        for theirs, ours in rooms.items():
            kept[f"branch.{place}.{ours}"] = tensors[f"{start}{number}.{theirs}"]
    inner = tensors["image_proj.layers.0.0.to_q.weight"].shape[0]
    config = {
        "family": "ip-adapter",
        "base": {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}.get(out, f"a width of {out}"),
        "embedding": f"{CLIP_VISION}{dimension}",
        "numbered": True,
        "identity": {
            "kind": RESAMPLER,
            "dimension": dimension,
            "width": width,
            "inner": inner,
            "out": out,
            "latents": latents.shape[1],
            "depth": depth,
        },
    }
    return PersonAdapter(config, kept)


def new_adapter(
    base: Mapping[str, Projections],
    base_name: str,
    embedding: str,
    dimension: int,
    queries: int = 10,
    layers: int = 4,
    heads: int = 4,
) -> PersonAdapter:
    """An untrained adapter: Q', K', V' are copies of the text's, as in the published code.

    base: the model's cross-attentions; base_name: what the model is called; embedding, dimension:
    the network that makes the face vectors, and their length.
    """
    width = next(iter(base.values())).to_k.shape[1]
    config = {
        "family": "pva",
        "base": base_name,
        "embedding": embedding,
        "identity": {
            "kind": VECTORS,
            "dimension": dimension,
            "width": width,
            "queries": queries,
            "layers": layers,
            "heads": heads,
        },
    }
    identity = IdentityEncoder(dimension, width, queries, layers, heads)
    tensors = {f"identity.{name}": t.detach().clone() for name, t in identity.state_dict().items()}
    for layer, own in base.items():
        for room in ROOMS:
            tensors[f"branch.{layer}.{room}"] = getattr(own, room).detach().float().clone()
    return PersonAdapter(config, tensors)


def resolve_vectors(adapter: PersonAdapter, faces: FaceEmbedding | None) -> Tensor:
    """The face vectors to use: the references given, or those of a personal adapter.

    Raises ValueError when there are none, or when they come from another network.
    """
    if faces is not None:
        adapter.check_vectors(faces.vectors, faces.source)
        return faces.vectors
    if adapter.vectors is None:
        raise ValueError(
            "Expected faces from Face Encoder: this adapter is not personal, so it cannot know "
            "who is meant. Connect faces, or load an adapter made by Personalize Face."
        )
    return adapter.vectors
