"""Leffa: learning flow fields in attention (arXiv 2412.08486).

The generator's self-attention also sees the tokens of a reference network; the attention over the
reference is a flow field, and a loss in training teaches every query where to look.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import flow_of_attention, reference_attention
from .flow import FlowField
from .site import Method, RunReference, Site, Step

MOMENTS = 4


@dataclass(frozen=True)
class Reference:
    """Pictures a generator may look at.

    images: [R, H, W, 3], 0..1, for warping and previews. latents: [B, R, C, h, w] as the model
    eats them (scaled), B = 1 shares them over the batch. dense_pose: [B, R, D, h, w], D = 0 for
    models whose reference network takes none.
    """

    images: Tensor
    latents: Tensor
    dense_pose: Tensor

    @property
    def count(self) -> int:
        return self.latents.shape[1]

    @property
    def inputs(self) -> Tensor:
        """[B, R, C + D, h, w]"""
        return torch.cat([self.latents, self.dense_pose], 2)

    def grid(self, tokens: int) -> tuple[int, int]:
        """(h, w) of the layer where one reference has so many tokens: its latents' size, halved
        (rounding up) some times. Raises ValueError when there is no such layer.
        """
        h, w = self.latents.shape[-2:]
        while h * w > tokens:
            h, w = -(-h // 2), -(-w // 2)
        if h * w != tokens:
            raise ValueError(
                f"Expected {tokens} tokens to be a halved {list(self.latents.shape[-2:])}; "
                f"the nearest is {h}x{w}. Use the reference with the model that encoded it."
            )
        return h, w


class Observer(Protocol):
    """Something that looks at the attention over the reference while it happens."""

    def wants(self, site: Site) -> bool: ...

    def moments(self, references: int, grid: tuple[int, int]) -> Tensor | None:
        """Functions of the position in references of that grid to average, [R * h * w, c]."""

    def observe(self, site: Site, q: Tensor, k_ref: Tensor, averages: Tensor | None) -> None:
        """q [B, H, N, d], k_ref [B, H, M, d], averages [B, H, N, c] or None."""


class Leffa(Method):
    """Reference attention: keys and values are [own tokens; reference tokens], one softmax.

    strength: 0 is off (bit-identical to an unpatched model), 1 the paper's; between and above, the
    reference's share of the softmax is scaled by it (our design). start, end: the part of the
    sampling, 0..1, in which the reference is seen. The unconditional rows see the features of a
    zero latent, as in the published code.
    """

    def __init__(
        self,
        reference: Reference,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        observer: Observer | None = None,
    ) -> None:
        if strength < 0:
            raise ValueError(f"Leffa strength must be >= 0, got {strength}.")
        if start > end:
            raise ValueError(f"Leffa start ({start}) must not lie after its end ({end}).")
        self.reference = reference
        self.strength = strength
        self.start, self.end = start, end
        self.observer = observer
        self.bank: dict[str, Tensor] = {}

    def active(self, step: Step) -> bool:
        return self.strength > 0 and self.start <= step.progress <= self.end

    def prepare(self, step: Step, run_reference: RunReference | None) -> None:
        if run_reference is None:
            raise ValueError(
                "Leffa needs a model with a reference network; this one carries none. "
                "Load it with Load Person Model."
            )
        inputs = self.reference.inputs
        count, rows = len(inputs), step.conditional
        sources = [inputs.flatten(0, 1)] if any(rows) else []
        if not all(rows):
            sources.append(torch.zeros_like(inputs[0]))
        features = run_reference(torch.cat(sources))
        shown = sum(rows)
        if shown and count not in (1, shown):
            raise ValueError(
                f"{count} sets of references for a batch of {shown}: expected 1 or {shown}."
            )
        null = count if any(rows) else 0
        seen = iter(range(shown))
        index = [next(seen) % count if conditional else null for conditional in rows]
        self.bank = {}
        for layer, f in features.items():
            sets = f.unflatten(0, (-1, self.reference.count)).flatten(1, 2)
            self.bank[layer] = sets[index]

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        if site.kind != "self" or site.layer not in self.bank:
            return n, keys, values
        tokens = self.bank[site.layer]
        return n, torch.cat([keys, tokens], 1), torch.cat([values, tokens], 1)

    def attends(self, site: Site) -> bool:
        if site.kind != "self" or site.layer not in self.bank:
            return False
        return self.strength != 1 or (self.observer is not None and self.observer.wants(site))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, site: Site) -> Tensor:
        m = self.bank[site.layer].shape[1]
        own = k.shape[2] - m
        k_ref, v_ref = k[:, :, own:], v[:, :, own:]
        watching = self.observer is not None and self.observer.wants(site)
        moments = None
        if watching:
            count = self.reference.count
            moments = self.observer.moments(count, self.reference.grid(m // count))
        out, averages = reference_attention(
            q,
            k[:, :, :own],
            v[:, :, :own],
            k_ref,
            v_ref,
            None if moments is None else moments.to(q),
            math.log(self.strength),
        )
        if watching:
            self.observer.observe(site, q, k_ref, averages)
        return out


def cell_centres(grid: tuple[int, int], align_corners: bool) -> Tensor:
    """(x, y) of every token of a grid [h * w, 2].

    align_corners=True: the outermost centres lie at -1 and 1 (the paper's grid).
    False: the picture's edges do (used wherever pixels are moved).
    """
    axes = []
    for n in grid:
        i = torch.arange(n, dtype=torch.float32)
        if align_corners:
            axes.append(torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1))
        else:
            axes.append((2 * i + 1) / n - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def flow_moments(references: int, grid: tuple[int, int]) -> Tensor:
    """[R * N, 4 R]: per reference 1, x, y and x^2 + y^2 of its own tokens, 0 of the others'."""
    xy = cell_centres(grid, align_corners=False)
    block = torch.cat([torch.ones(len(xy), 1), xy, xy.square().sum(1, keepdim=True)], 1)
    return torch.block_diag(*[block] * references)


@dataclass
class FlowRecord:
    """Where each token of a sampling run took its texture from.

    Filled by `Leffa` during sampling, per step and layer; starts over with the next run, which is
    one of other length, or one that comes to an earlier step.
    layers: the layer ids to record (those whose attention was taught to be a flow), None for all.
    """

    layers: Sequence[str] | None = None
    entries: dict[tuple[int, str], tuple[tuple[int, int], float, Tensor]] = field(
        default_factory=dict
    )
    steps: int = 0

    def wants(self, site: Site) -> bool:
        return any(site.step.conditional) and (self.layers is None or site.layer in self.layers)

    def moments(self, references: int, grid: tuple[int, int]) -> Tensor:
        return flow_moments(references, grid)

    def observe(self, site: Site, q: Tensor, k_ref: Tensor, averages: Tensor | None) -> None:
        if self.steps != site.step.total or any(i > site.step.index for i, _ in self.entries):
            self.entries.clear()
        self.steps = site.step.total
        rows = [i for i, conditional in enumerate(site.step.conditional) if conditional]
        mean = averages[rows].float().mean(1)
        key = (site.step.index, site.layer)
        self.entries[key] = (site.grid, site.step.progress, mean.unflatten(-1, (-1, MOMENTS)).cpu())

    def field(self, start: float = 0.0, end: float = 1.0) -> FlowField:
        """The flow at the finest recorded grid, averaged over the steps of start..end (0..1).

        Confidence is the share of the references' attention that goes to that reference, times
        exp(-(s / 2)^2) with s the spread of the attention in tokens (our design).
        Raises ValueError when nothing was recorded.
        """
        if not self.entries:
            raise ValueError(
                "No flow was recorded: run the sampler first, with record_flow on and a strength "
                "above 0."
            )
        finest = max(grid[0] * grid[1] for grid, _, _ in self.entries.values())
        chosen = [
            (grid, m)
            for grid, progress, m in self.entries.values()
            if grid[0] * grid[1] == finest and start <= progress <= end
        ]
        if not chosen:
            raise ValueError(f"No flow was recorded between {start} and {end} of the sampling.")
        (h, w), _ = chosen[0]
        total = torch.stack([m for _, m in chosen]).mean(0)
        total = total.unflatten(1, (h, w)).permute(0, 3, 1, 2, 4)
        mass = total[..., :1].clamp_min(1e-12)
        xy = total[..., 1:3] / mass
        variance = (total[..., 3] / mass[..., 0] - xy.square().sum(-1)).clamp_min(0)
        spread = variance.sqrt() * (h * w) ** 0.5 / 2
        share = mass[..., 0] / mass[..., 0].sum(1, keepdim=True)
        return FlowField(xy, share * torch.exp(-(spread / 2).square()))


@dataclass
class CorrespondenceTap:
    """Keeps queries and reference keys for the losses; `layers` as in training's configuration."""

    layers: tuple[str, ...]
    seen: dict[str, tuple[tuple[int, int], Tensor, Tensor]] = field(default_factory=dict)

    def wants(self, site: Site) -> bool:
        return site.layer in self.layers

    def moments(self, references: int, grid: tuple[int, int]) -> None:
        return None

    def observe(self, site: Site, q: Tensor, k_ref: Tensor, averages: Tensor | None) -> None:
        self.seen[site.layer] = (site.grid, q, k_ref)

    def flows(self, tau: float, align_corners: bool) -> Iterable[Tensor]:
        """Expected reference coordinates per layer, [B, 2, h, w]; one reference only."""
        for grid, q, k_ref in self.seen.values():
            centres = cell_centres(grid, align_corners).to(q)
            yield flow_of_attention(q, k_ref, centres, tau).mT.unflatten(-1, grid)


def leffa_loss(flow: Tensor, reference: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """|| I_m * (I_tgt - warp(I_ref)) ||^2 of one layer (section 3.2, equation 5).

    flow: [B, 2, h, w], coordinates with -1..1 at the outermost token centres, from attention with
    temperature tau; upsampled bilinearly to the pictures' size. reference, target: [B, 3, H, W];
    mask: [B, 1, H, W]. The paper does not say sum or mean: ours is the mean over pixels and
    channels, so that lambda does not depend on the size.
    """
    size = target.shape[-2:]
    grid = F.interpolate(flow, size, mode="bilinear", align_corners=True).movedim(1, -1)
    warped = F.grid_sample(reference, grid, align_corners=True, padding_mode="border")
    return (mask * (target - warped)).square().mean()
