"""Held-out people's faces painted again: by words alone, with their pictures, and tuned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...hosts import diffusers as host
from ...hosts.adapters import read_adapter
from ...hosts.faces import FaceModel, load_face_model
from ...hosts.lending import layers, lend
from ...methods.person_adapter import WORD, PersonAdapter
from ...methods.personalize import Base, Personalization, Tuning
from ...methods.pva import PVA, FaceEmbedding
from ..people.portraits import FACES
from ..training.inpaint_data import FACE, Pool, grow

STEPS, SCALE, GROWN = 20, 2.0, 3  # denoising steps, guidance, pixels around a face
ROOMS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass
class Painter:
    """The shipped base with its adapter and face network."""

    model: Any
    clip: Any
    vae: Any
    adapter: PersonAdapter
    faces: FaceModel

    def vectors(self, pictures: Tensor) -> Tensor:
        """Face vectors [R, 1, D] of pictures [R, 64, 64, 3], 0..1."""
        return self.faces.embed(pictures).clone()

    def embedding(self, pictures: Tensor, faces: Tensor) -> FaceEmbedding:
        """What Face Encoder makes of crops [R, 64, 64, 3] and the faces in them [R, 64, 64]."""
        mirrored = self.vectors(pictures.flip(2))
        source = self.adapter.config["embedding"]
        return FaceEmbedding(self.vectors(pictures), mirrored, source, pictures, faces)

    def paint(
        self,
        picture: Tensor,
        region: Tensor,
        prompts: Sequence[str],
        seed: int,
        *methods: PVA,
        model: Any = None,
        word: Tensor | None = None,
    ) -> Tensor:
        """picture [B, 64, 64, 3], 0..1; region [B, 64, 64], 1 where it is to be painted."""
        hidden = region.unsqueeze(-1)
        grey = picture * (1 - hidden) + 0.5 * hidden
        seen = {
            "concat_latent_image": self.vae.encode(grey),
            "concat_mask": region.unsqueeze(1),
        }
        said, nothing = (self.speak(texts, word) for texts in (prompts, [""] * len(prompts)))
        model = model or self.model
        for method in methods:
            model = host.patch(model, method)
        latent = {"samples": torch.zeros_like(seen["concat_latent_image"])}
        with torch.inference_mode():
            out = host.sample(
                model,
                seed,
                STEPS,
                SCALE,
                "euler",
                "normal",
                [[said, seen]],
                [[nothing, seen]],
                latent,
            )
            painted = self.vae.decode(out["samples"])
        return torch.where(hidden > 0, painted, picture)

    def speak(self, prompts: Sequence[str], word: Tensor | None = None) -> Tensor:
        word = self.adapter.word if word is None else word
        with torch.no_grad():
            return host.encode_text(self.clip, prompts, {WORD: word.float()})

    def pva(
        self, vectors: Sequence[Tensor], adapter: PersonAdapter | None = None, **how: Any
    ) -> PVA:
        """The branch for a batch of people, whose vectors [R, 1, D] are given one by one."""
        adapter = adapter or self.adapter
        tokens = torch.cat([adapter.tokens(v) for v in vectors])
        return PVA(adapter.branch(layers(host, self.model)), tokens, **how)

    def lent(self, model: Any = None) -> Any:
        """The base as personalisation wants it, a context manager."""
        return lend(host, model or self.model, self.clip, self.vae)


def load_painter(base: Path, adapter: Path, faces: Path) -> Painter:
    """From three files."""
    model, clip, vae = host.load_inpaint_model(base)
    return Painter(model, clip, vae, read_adapter(adapter), load_face_model(faces))


class FullTuning(Personalization):
    """The baseline: all weights of every cross-attention and the word, no identity tokens.

    Custom Diffusion (Kumari et al. 2023) tunes keys, values and a word; the wider set makes the
    baseline stronger. Everything else, data and masks included, is as for PVA.
    """

    def __init__(
        self, adapter: PersonAdapter, faces: FaceEmbedding, base: Base, tuning: Tuning, model: Any
    ) -> None:
        super().__init__(adapter, faces, base, tuning)
        self.model = model
        weights = [
            attention.get_submodule(room).weight.requires_grad_(True)
            for attention in model.unet.cross_attentions().values()
            for room in ROOMS
        ]
        self.optimizer = self.learn(weights)

    def methods(self, which: Tensor) -> tuple[()]:
        return ()


@contextmanager
def full_tuning(painter: Painter, faces: FaceEmbedding, tuning: Tuning) -> Iterator[FullTuning]:
    """The baseline for one person, on a copy of the model."""
    with torch.inference_mode(False):
        model = replace(painter.model, unet=copy.deepcopy(painter.model.unet))
    with painter.lent(model) as base:
        yield FullTuning(painter.adapter, faces, base, tuning, model)


@dataclass
class People:
    """Held-out people: FACES pictures each."""

    pictures: Tensor  # [P, FACES, 64, 64, 3], 0..1
    faces: Tensor  # [P, FACES, 64, 64]
    facts: list[list[dict]]
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.pictures)

    def region(self, person: Tensor | list[int], picture: int = 0) -> Tensor:
        """The whole face and a few pixels around it, [B, 64, 64]."""
        return torch.stack([grow(self.faces[p, picture], GROWN) for p in person])


def people_of(folder: Path, count: int | None = None) -> People:
    """From rendered shards; people whose first picture shows no face are left out."""
    pool = Pool("face", folder)
    image, label = pool.take(torch.arange(len(pool)))
    pictures = (image.float() / 255).unflatten(0, (-1, FACES))
    faces = (label == FACE).float().unflatten(0, (-1, FACES))
    shown = [p for p in range(len(pictures)) if bool(faces[p].flatten(1).any(1).all())][:count]
    rows = [[p * FACES + k for k in range(FACES)] for p in shown]
    return People(
        pictures[shown],
        faces[shown],
        [[pool.facts[i] for i in row] for row in rows],
        [[pool.prompt(i) for i in row] for row in rows],
    )


def likeness(judge: nn.Module, painted: Tensor, people: People, rows: Sequence[int]) -> Tensor:
    """Cosine of painted faces [B, 64, 64, 3] to the references of their people, pictures 1 to
    FACES - 1: the mean, [B].
    """
    with torch.inference_mode():
        mine = F.normalize(judge(painted.movedim(-1, 1) * 2 - 1), dim=-1)
        real = people.pictures[list(rows), 1:].flatten(0, 1).movedim(-1, 1) * 2 - 1
        theirs = F.normalize(judge(real), dim=-1).unflatten(0, (len(rows), -1))
        return (mine.unsqueeze(1) * theirs).sum(-1).mean(1)
