"""Forty steps for a new person: PVA's fine-tune of Q', K', V' and one word (section 3.4).

The published code's recipe: one reference is the target, the others and a mirrored one are what
the model may look at; the whole face is painted; AdamW, two batches a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .person_adapter import WORD, PersonAdapter
from .pva import PVA, ROOMS, FaceEmbedding, Projections
from .site import Method

TEMPLATE, WORDLESS = f"photo of a {WORD} person", "photo of a person"
BINS = 4

Predict = Callable[[Tensor, Tensor, Tensor, Tensor | None, Sequence[Method]], Tensor]


@dataclass(frozen=True)
class Base:
    """What a host lends of a frozen model, for training beside it.

    predict: (x = x0 + sigma noise [B, C, h, w], sigma [B], text [B, L, W], concat or None, methods)
    to x0, with gradients to the methods' own tensors. speak: (prompts, vector of WORD or None) to
    text. encode: pictures [B, H, W, 3], 0..1, to the latents that the model sees. paint: (pictures,
    what is to be painted [B, H, W]) to concat, None for models that take no mask. sigmas: the
    noise levels of the schedule, ascending. prediction: "sample", "epsilon" or "v". size: (height,
    width) of the pictures. layers: the cross-attentions' own projections. words: whether the text
    encoder has a place for a learned word.
    """

    predict: Predict
    speak: Callable[[Sequence[str], Tensor | None], Tensor]
    encode: Callable[[Tensor], Tensor]
    paint: Callable[[Tensor, Tensor], Tensor | None]
    sigmas: Tensor
    prediction: str
    size: tuple[int, int]
    layers: Mapping[str, Projections]
    words: bool = True


@dataclass(frozen=True)
class Tuning:
    """steps, learning rates (of the branch, of the word), pictures per batch, batches per step."""

    steps: int = 40
    rate: float = 2e-5
    word_rate: float = 1e-3
    rows: int = BINS
    accumulate: int = 2
    weight_decay: float = 0.01
    seed: int = 0


def stratified(count: int, levels: int, g: torch.Generator) -> Tensor:
    """Timesteps 0..levels - 1, one bin of BINS after the other, so that a small batch sees all
    noise levels (the published code's sampling). Returns [count].
    """
    bins = (torch.arange(count) + int(torch.randint(BINS, (), generator=g))) % BINS
    return ((bins + torch.rand(count, generator=g)) * levels / BINS).long()


def denoising_loss(predicted: Tensor, target: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """The squared error of x0 [B, C, h, w], weighted as what the network predicts asks for.

    "epsilon": 1 / sigma^2, which is the error of the noise; "v": 1 + 1 / sigma^2; "sample":
    1 / (1 - alpha + 0.05), as the tiny family is trained.
    """
    s = sigma.square().view(-1, 1, 1, 1)
    weight = {
        "epsilon": lambda: 1 / s,
        "v": lambda: 1 + 1 / s,
        "sample": lambda: 1 / (s / (1 + s) + 0.05),
    }[prediction]()
    return ((predicted - target).square() * weight).mean()


class Personalization:
    """Tunes an adapter for one person; `step` until `done`, then `result`.

    adapter: for this base and this face network; faces: one person's pictures. Raises ValueError
    when they do not belong together.
    """

    def __init__(
        self, adapter: PersonAdapter, faces: FaceEmbedding, base: Base, tuning: Tuning
    ) -> None:
        adapter.check_vectors(faces.vectors, faces.source)
        self.adapter, self.faces, self.base, self.tuning = adapter, faces, base, tuning
        started = adapter.branch(base.layers)
        self.tensors = {
            f"branch.{layer}.{room}": nn.Parameter(getattr(own, room).detach().clone().float())
            for layer, own in started.items()
            for room in ROOMS
        }
        learned = adapter.word is not None and base.words
        self.word = nn.Parameter(adapter.word.clone().float()) if learned else None
        self.prompt = TEMPLATE if learned else WORDLESS
        self.optimizer = self.learn(self.tensors.values())
        self.done = 0
        self.seen: Tensor | None = None
        self._prepare()

    def learn(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """AdamW over these parameters and the word, each at its rate."""
        groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": self.tuning.rate}]
        if self.word is not None:
            groups.append({"params": [self.word], "lr": self.tuning.word_rate})
        return torch.optim.AdamW(groups, weight_decay=self.tuning.weight_decay)

    def _prepare(self) -> None:
        """What does not change over the steps: latents, and the tokens for every target."""
        faces, size = self.faces, self.base.size
        pictures = F.interpolate(
            faces.pictures.movedim(-1, 1), size, mode="bilinear", antialias=True
        )
        self.pictures = torch.cat([pictures, pictures.flip(-1)]).movedim(1, -1).clamp(0, 1)
        masks = F.interpolate(faces.faces.unsqueeze(1).float(), size, mode="bilinear")[:, 0] > 0.5
        if not masks.flatten(1).any(1).all():
            masks = torch.ones_like(masks)
        self.masks = torch.cat([masks, masks.flip(-1)]).float()
        self.latents = self.base.encode(self.pictures)
        count = len(faces.vectors)
        others = [[i for i in range(count) if i != target] for target in range(count)]
        straight = [
            torch.cat([faces.vectors[o], faces.mirrored[[i]]]) for i, o in enumerate(others)
        ]
        flipped = [torch.cat([faces.mirrored[o], faces.vectors[[i]]]) for i, o in enumerate(others)]
        self.tokens = torch.cat([self.adapter.tokens(v) for v in straight + flipped])

    @property
    def branch(self) -> dict[str, Projections]:
        return {
            layer: Projections(*(self.tensors[f"branch.{layer}.{room}"] for room in ROOMS))
            for layer in self.base.layers
        }

    def step(self) -> float:
        """One step of the optimizer; returns the mean loss of its batches."""
        tuning = self.tuning
        self.optimizer.zero_grad()
        total = 0.0
        for part in range(tuning.accumulate):
            seed = (tuning.seed * 1_000_003 + self.done) * tuning.accumulate + part
            loss = self._loss(torch.Generator().manual_seed(seed)) / tuning.accumulate
            loss.backward()
            total += float(loss.detach())
        self.optimizer.step()
        self.done += 1
        return total

    def _loss(self, g: torch.Generator) -> Tensor:
        base, rows = self.base, self.tuning.rows
        which = torch.randint(len(self.latents), (rows,), generator=g)
        target = self.latents[which]
        sigma = base.sigmas[stratified(rows, len(base.sigmas), g)].to(target)
        noise = torch.randn(target.shape, generator=g).to(target)
        x = target + sigma.view(-1, 1, 1, 1) * noise
        concat = base.paint(*self._hidden(which, g))
        text = base.speak([self.prompt] * rows, self.word)
        predicted = base.predict(x, sigma, text, concat, self.methods(which))
        self.seen = predicted.detach()[int(sigma.argmin())][None]
        return denoising_loss(predicted, target, sigma, base.prediction)

    def methods(self, which: Tensor) -> tuple[Method, ...]:
        """What acts on a batch of targets [B]: the branch, with each target's references."""
        return (PVA(self.branch, self.tokens[which].to(self.latents)),)

    @torch.no_grad()
    def probe(self) -> list[Tensor]:
        """What base, text encoder and autoencoder make of something fixed: they are told from any
        other, whatever was changed in them.
        """
        base, target = self.base, self.latents[:1]
        noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0)).to(target)
        sigma = base.sigmas[len(base.sigmas) // 2].to(target)[None]
        text = base.speak([self.prompt], self.word)
        concat = base.paint(self.pictures[:1], self.masks[:1])
        x = target + sigma.view(-1, 1, 1, 1) * noise
        return [self.latents, text, base.predict(x, sigma, text, concat, ())]

    def _hidden(self, which: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """The pictures, grey where they are to be painted, and where that is: the whole face and
        up to a tenth of the picture around it.
        """
        grow = int(torch.randint(1, max(2, self.base.size[1] // 10), (), generator=g))
        region = F.max_pool2d(self.masks[which].unsqueeze(1), 2 * grow + 1, 1, grow)[:, 0]
        hidden = region.unsqueeze(-1)
        return self.pictures[which] * (1 - hidden) + 0.5 * hidden, region

    def result(self) -> PersonAdapter:
        """The personal adapter, with the person's vectors in it."""
        tensors = {name: t.detach().clone() for name, t in self.tensors.items()}
        if self.word is not None:
            tensors["word"] = self.word.detach().clone()
        tensors["vectors"] = self.faces.vectors.detach().clone()
        return self.adapter.with_tensors(tensors, personal=True, steps=self.done)

    def state(self) -> dict[str, Tensor]:
        """Everything that `resume` needs to go on where this is."""
        out = {f"tensors.{name}": t.detach() for name, t in self._learned().items()}
        for i, p in enumerate(self._learned().values()):
            for name, value in self.optimizer.state[p].items():
                out[f"adam.{i}.{name}"] = value
        out["done"] = torch.tensor(self.done)
        return {name: t.clone() for name, t in out.items()}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` gave."""
        with torch.no_grad():
            for i, (name, p) in enumerate(self._learned().items()):
                p.copy_(state[f"tensors.{name}"])
                prefix = f"adam.{i}."
                adam = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
                if adam:
                    self.optimizer.state[p] = {k: v.clone() for k, v in adam.items()}
        self.done = int(state["done"])

    def _learned(self) -> dict[str, Tensor]:
        return self.tensors | ({} if self.word is None else {"word": self.word})
