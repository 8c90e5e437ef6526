"""RePoseDM: recurrent pose alignment (arXiv 2310.16074).

The generator's reference features are warped to the target's pose by a flow that a small recurrent
network improves K times, and are fed to it at every denoising step. The abstract says so much;
where in the network they go, what the iterations look at and how often they run it does not say.
Ours: the aligned features take the place of Leffa's reference tokens, each with the logarithm of
its confidence on its logit and with a residual that tells the queries where it now stands
(attention does not see the order of tokens). The other half of the paper, the gradient guidance, is
in `pose_guidance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .alignment import SURE, Alignment, on_grid, resized
from .flow import warp
from .flow_record import MOMENTS, Observer
from .leffa import Leffa, Reference
from .site import Features, RunReference, Site, Step


class Network(Protocol):
    """What `Aligned` asks of a network; `hosts.aligner.AlignerNet` is one."""

    def __call__(
        self, texture: Tensor, source_pose: Tensor, target_pose: Tensor, iterations: int
    ) -> Alignment:
        """texture [P, C, h, w], source_pose [P, D, h, w], target_pose [P, D, h', w']: the flow on
        a grid of the target's, K >= 1 times improved.
        """

    def residual(self, hidden: Tensor, layer: str) -> Tensor:
        """What a layer's aligned tokens are told [P, C, h, w] of the hidden state [P, c, h, w]."""


def target_pose_of(concat: Tensor, latent_channels: int) -> Tensor:
    """The target's dense pose [B, D, h, w] in a person model's conditioning (`noise_concat`):
    what follows the mask and the masked picture's latent.
    """
    return concat[:, 1 + latent_channels :]


@dataclass
class AlignmentRecord:
    """What the aligner made of S pictures' references, after every iteration.

    flow: [K, S, R, h, w, 2], positions in each reference, -1..1 at its edges. confidence:
    [K, S, R, h, w], 0..1. Both None before a run and where K is 0. Filled once per sampling run by
    `Aligned`; starts over with the next.
    """

    flow: Tensor | None = None
    confidence: Tensor | None = None

    def begin(self) -> None:
        self.flow = self.confidence = None

    def fill(self, alignment: Alignment, references: int) -> None:
        self.flow = alignment.flows.detach().float().cpu().unflatten(1, (-1, references))
        self.confidence = alignment.confidence.detach().float().cpu().unflatten(1, (-1, references))

    def pictures(self, images: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The references [R, H, W, 3], 0..1, warped after every iteration [K, S, R, h, w, 3], and
        the confidence [K, S, R, h, w] beside them, at size (h, w).

        Raises ValueError when no alignment was made, or one of another number of references.
        """
        if self.flow is None:
            raise ValueError(
                "No alignment was made: run the sampler first, with iterations and strength above "
                "0 and with start and end such that it acts in some step."
            )
        k, s, r = self.flow.shape[:3]
        if len(images) != r:
            raise ValueError(
                f"The alignment belongs to {r} reference(s); got {len(images)}. Connect the "
                "reference that the aligner was given."
            )
        xy, sure = on_grid(self.flow.flatten(0, 2), self.confidence.flatten(0, 2), size)
        sources = images.float().cpu().repeat(k * s, 1, 1, 1)
        return (
            warp(sources, xy).unflatten(0, (k, s, r)),
            sure.clamp(0, 1).unflatten(0, (k, s, r)),
        )


class Aligned(Leffa):
    """Leffa whose reference tokens are first aligned to the target's pose.

    net: see `Network`. source_pose: [S or 1, R, D, h, w]; None takes the reference's own.
    target_pose: [S or 1, D, h', w'], at the size of the latent that is sampled; one for each
    picture, or one for all; a batch that holds each of S several times takes them in turn.
    iterations: K >= 0; 0 is Leffa, bit for bit. strength, start, end, observer, once: as Leffa's.
    record: filled once per run.

    The flow does not depend on the noise level: the network runs once per sampling run, on the CPU
    or wherever its weights are. Several references are aligned each on its own. Unconditional rows
    of a person model go on seeing the features of a zero latent, which no pose is to align.
    Raises ValueError for settings that Leffa refuses, for K below 0 and for poses that do not fit.
    """

    def __init__(
        self,
        reference: Reference,
        net: Network,
        source_pose: Tensor | None,
        target_pose: Tensor,
        iterations: int = 3,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        observer: Observer | None = None,
        once: bool = False,
        record: AlignmentRecord | None = None,
    ) -> None:
        super().__init__(reference, strength, start, end, observer, once)
        if iterations < 0:
            raise ValueError(f"The aligner's iterations must be >= 0, got {iterations}.")
        source_pose = reference.dense_pose if source_pose is None else source_pose
        wanted = (reference.count, *reference.latents.shape[-2:])
        if (source_pose.shape[1], *source_pose.shape[-2:]) != wanted:
            raise ValueError(
                f"Expected a source pose for each of {wanted[0]} reference(s) on their grid of "
                f"{wanted[2]}x{wanted[1]}; got {source_pose.shape[1]} on "
                f"{source_pose.shape[4]}x{source_pose.shape[3]}."
            )
        if source_pose.shape[2] != target_pose.shape[1]:
            raise ValueError(
                f"Expected source and target poses of one kind; got {source_pose.shape[2]} and "
                f"{target_pose.shape[1]} channels. Make both with the same model."
            )
        self.net, self.iterations, self.record = net, iterations, record
        self.source_pose, self.target_pose = source_pose, target_pose
        counts = {len(reference.latents), len(source_pose), len(target_pose)} - {1}
        if len(counts) > 1:
            raise ValueError(
                f"Expected one reference and one target pose for all pictures, or as many of each; "
                f"got {len(reference.latents)} and {len(target_pose)}."
            )
        self.sets = max(counts, default=1)
        self.alignment: Alignment | None = None
        self._placed: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        self._kept_logs: dict[tuple[bool, ...], dict[str, Tensor]] = {}
        self._logs: dict[str, Tensor] = {}

    def begin(self) -> None:
        super().begin()
        self._forget()
        if self.record is not None:
            self.record.begin()

    def end(self) -> None:
        super().end()
        self._forget()

    def _forget(self) -> None:
        self.alignment = None
        self._placed, self._kept_logs, self._logs = {}, {}, {}

    def align(self) -> Alignment:
        """Aligns all references to all targets, [S * R] of them; once per run."""
        if self.alignment is None:
            sets, latents = self.sets, self.reference.latents
            texture, pose = (
                x.expand(sets, *x.shape[1:]).flatten(0, 1) for x in (latents, self.source_pose)
            )
            target = self.target_pose.expand(sets, *self.target_pose.shape[1:])
            target = target.repeat_interleave(self.reference.count, 0)
            self.alignment = self.net(texture, pose, target, self.iterations)
            if self.record is not None:
                self.record.fill(self.alignment, self.reference.count)
        return self.alignment

    def prepare(self, step: Step, run_reference: RunReference | None) -> None:
        super().prepare(step, run_reference)
        self._logs = self._kept_logs.get(step.conditional, {})

    def _features(self, rows: tuple[bool, ...], run: Callable[[Tensor], Features]) -> Features:
        """Leffa's, with the tokens of the rows that see the references aligned."""
        bank = super()._features(rows, run)
        takes = self._takes(rows) if self.iterations else {}
        if not takes:
            return bank
        shown, count, logs = list(takes), self.reference.count, {}
        for layer, tokens in bank.items():
            grid = self.reference.grid(tokens.shape[1] // count)
            xy, log, residual = (x[list(takes.values())] for x in self._at(layer, grid, tokens))
            source = tokens[shown].float().unflatten(1, (count, *grid)).flatten(0, 1)
            aligned = warp(source, xy.flatten(0, 1)) + residual.flatten(0, 1)
            aligned = aligned.to(tokens).reshape(len(shown), -1, tokens.shape[-1])
            where = torch.tensor(shown, device=tokens.device)
            plain = self._on_grid(tokens, grid, tuple(log.shape[-2:]))
            bank[layer] = plain.index_copy(0, where, aligned)
            none = log.new_zeros(len(rows), aligned.shape[1])
            logs[layer] = none.index_copy(0, where, log.flatten(1))
        self._kept_logs[rows] = logs
        return bank

    def _takes(self, rows: tuple[bool, ...]) -> dict[int, int]:
        """{row that sees the references: the alignment it takes}; the rows of a prompt are the
        pictures in their order, once or several times (a repeated latent, a combined prompt).
        """
        number, out = {True: 0, False: 0}, {}
        for i, conditional in enumerate(rows):
            if conditional or self.reference.shown_to_all:
                out[i] = number[conditional] % self.sets
            number[conditional] += 1
        pictures = max(number.values()) if self.reference.shown_to_all else number[True]
        if out and pictures % self.sets:
            raise ValueError(
                f"{self.sets} target poses for a batch of {pictures}: expected 1 or {pictures}. "
                "Give one pose for all pictures, or one for each."
            )
        return out

    def _at(self, layer: str, grid: tuple[int, int], like: Tensor) -> tuple[Tensor, ...]:
        """Flow [S, R, h, w, 2], log-confidence [S, R, h, w] and residual [S, R, h, w, C] of a
        layer where the references have that grid, on the target's grid there.
        """
        if layer not in self._placed:
            alignment, there = self.align(), self._targets_grid(grid)
            xy, sure = on_grid(alignment.flows[-1], alignment.confidence[-1], there)
            residual = self.net.residual(resized(alignment.hidden, there), layer).movedim(1, -1)
            if residual.shape[-1] != like.shape[-1]:
                raise ValueError(
                    f"This aligner was trained for a model whose layer {layer} is "
                    f"{residual.shape[-1]} wide; here it is {like.shape[-1]}. Choose the aligner "
                    "of this model, or Flow-Guided Attention, which needs none."
                )
            self._placed[layer] = tuple(
                x.float().to(like.device).unflatten(0, (-1, self.reference.count))
                for x in (xy, sure.clamp_min(SURE).log(), residual)
            )
        return self._placed[layer]

    def _targets_grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The target's grid where the references' is `grid`: halved as often."""
        here, there = (tuple(x.shape[-2:]) for x in (self.reference.latents, self.target_pose))
        while here != tuple(grid):
            here, there = (tuple(-(-n // 2) for n in size) for size in (here, there))
        return there

    def _on_grid(self, tokens: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
        """Tokens [B, R * N, C] of one grid on another."""
        if before == after:
            return tokens
        pictures = tokens.unflatten(1, (self.reference.count, *before)).flatten(0, 1)
        pictures = resized(pictures.movedim(-1, 1), after).movedim(1, -1)
        return pictures.reshape(len(tokens), -1, tokens.shape[-1])

    def _grid(self, site: Site, tokens: int) -> tuple[int, int]:
        if site.layer in self._logs:
            return tuple(self._placed[site.layer][1].shape[-2:])
        return super()._grid(site, tokens)

    def attends(self, site: Site) -> bool:
        return super().attends(site) or (site.kind == "self" and site.layer in self._logs)

    def _bias(self, site: Site, q: Tensor) -> float | Tensor:
        logs = self._logs.get(site.layer)
        return super()._bias(site, q) if logs is None else (logs + math.log(self.strength)).to(q)

    def _as_flow(self, site: Site, averages: Tensor | None) -> Tensor | None:
        """Moments over the places of aligned tokens as moments over where these came from: the
        mean is looked up in the aligner's flow, the spread stays.
        """
        count = self.reference.count
        if (
            averages is None
            or site.layer not in self._logs
            or averages.shape[-1] != MOMENTS * count
        ):
            return averages
        takes = self._takes(site.step.conditional)
        rows, sets = list(takes), list(takes.values())
        mass, at, square = averages[rows].float().unflatten(-1, (count, 4)).split([1, 2, 1], -1)
        mean = at / mass.clamp_min(1e-12)
        spread = square / mass.clamp_min(1e-12) - mean.square().sum(-1, keepdim=True)
        flow = self._placed[site.layer][0][sets].flatten(0, 1)
        came = warp(flow, mean.movedim(3, 1).flatten(0, 1)).unflatten(0, (-1, count)).movedim(1, 3)
        square = spread + came.square().sum(-1, keepdim=True)
        moments = torch.cat([mass, mass * came, mass * square], -1).flatten(-2)
        where = torch.tensor(rows, device=averages.device)
        return averages.index_copy(0, where, moments.to(averages))
