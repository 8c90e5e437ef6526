"""Leffa: learning flow fields in attention (arXiv 2412.08486).

The generator's self-attention also sees the tokens of a reference network; the attention over the
reference is a flow field, and a loss in training teaches every query where to look.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import reference_attention
from .flow_record import Observer
from .site import Features, Method, RunReference, Site, Step


@dataclass(frozen=True)
class Reference:
    """Pictures a generator may look at.

    images: [R, H, W, 3], 0..1, for warping and previews. latents: [B, R, C, h, w] as the model
    eats them (scaled), B = 1 shares them over the batch. dense_pose: [B, R, D, h, w], D = 0 for
    models whose reference network takes none. shown_to_all: unconditional rows see the pictures
    too, for models that were never taught what no reference looks like.
    """

    images: Tensor
    latents: Tensor
    dense_pose: Tensor
    shown_to_all: bool = False

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


class Leffa(Method):
    """Reference attention: keys and values are [own tokens; reference tokens], one softmax.

    strength: 0 is off (bit-identical to an unpatched model), 1 the paper's; between and above, the
    reference's share of the softmax is scaled by it (our design). start, end: the part of the
    sampling, 0..1, in which the reference is seen. once: the reference network runs once, at the
    noise level of the middle step, as the published code's faster mode does. The unconditional
    rows see the features of a zero latent, as in the published code.
    """

    shows_references = True

    def __init__(
        self,
        reference: Reference,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        observer: Observer | None = None,
        once: bool = False,
    ) -> None:
        if strength < 0:
            raise ValueError(f"Leffa strength must be >= 0, got {strength}.")
        if start > end:
            raise ValueError(f"Leffa start ({start}) must not lie after its end ({end}).")
        self.reference = reference
        self.strength = strength
        self.start, self.end_at = start, end
        self.observer = observer
        self.once = once
        self.bank: Features = {}
        self._kept: dict[tuple[bool, ...], Features] = {}
        self._first: dict[str, int] = {}

    def reference_shapes(self) -> Sequence[tuple[int, int, int]]:
        sets, count, _, h, w = self.reference.latents.shape
        return [(sets * count, h, w)] if self.strength > 0 else []

    def begin(self) -> None:
        self._kept = {}
        if self.observer is not None:
            self.observer.begin()

    def end(self) -> None:
        self.bank, self._kept = {}, {}

    def active(self, step: Step) -> bool:
        return self.strength > 0 and self.start <= step.progress <= self.end_at

    def prepare(self, step: Step, run_reference: RunReference | None) -> None:
        if run_reference is None:
            raise ValueError(
                "Leffa needs a model with a reference network; this one carries none. "
                "Load it with Load Person Model."
            )
        rows = step.conditional
        if rows in self._kept:
            self.bank = self._kept[rows]
            return
        sigma = step.run[len(step.run) // 2] if self.once else step.sigma
        self.bank = self._features(rows, lambda inputs: run_reference(inputs, sigma))
        if self.once:
            self._kept[rows] = self.bank

    def _features(self, rows: tuple[bool, ...], run: Callable[[Tensor], Features]) -> Features:
        """What every row of the batch may look at {layer: [B, R * N, channels]}."""
        inputs = self.reference.inputs
        count, to_all = len(inputs), self.reference.shown_to_all
        shown = max(sum(rows), len(rows) - sum(rows)) if to_all else sum(rows)
        if shown and count not in (1, shown):
            raise ValueError(
                f"{count} sets of references for a batch of {shown}: expected 1 or {shown}. Give "
                "one set for all pictures, or one for each."
            )
        sources = [inputs.flatten(0, 1)] if shown else []
        if not to_all and not all(rows):
            sources.append(torch.zeros_like(inputs[0]))
        features = run(torch.cat(sources))
        null = count if shown else 0
        number = {True: 0, False: 0}
        index = []
        for conditional in rows:
            index.append(number[conditional] % count if conditional or to_all else null)
            number[conditional] += 1
        return {
            layer: f.unflatten(0, (-1, self.reference.count)).flatten(1, 2)[index]
            for layer, f in features.items()
        }

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        if site.kind != "self" or site.layer not in self.bank:
            return n, keys, values
        tokens = self.bank[site.layer]
        self._first[site.layer] = keys.shape[1]
        return n, torch.cat([keys, tokens], 1), torch.cat([values, tokens], 1)

    def attends(self, site: Site) -> bool:
        if site.kind != "self" or site.layer not in self.bank:
            return False
        return self.strength != 1 or (self.observer is not None and self.observer.wants(site))

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, site: Site, others: Sequence[Method] = ()
    ) -> Tensor:
        """One softmax for all references, also those of other Leffas: to each its own strength and
        flow.
        """
        leffas = [method for method in (*others, self) if isinstance(method, Leffa)]
        places = [method._place(k, site) for method in leffas]
        moments = [
            method._moments(site, place) for method, place in zip(leffas, places, strict=True)
        ]
        out, averages = reference_attention(
            q,
            *_split(k, v, places),
            torch.block_diag(*moments).to(q) if any(m.shape[1] for m in moments) else None,
            _together([method._bias(site, q) for method in leffas], places, q),
        )
        widths = [m.shape[1] for m in moments]
        shares = [None] * len(leffas) if averages is None else averages.split(widths, -1)
        for method, place, share in zip(leffas, places, shares, strict=True):
            if method.observer is not None and method.observer.wants(site):
                method.observer.observe(site, q, k[:, :, place], method._as_flow(site, share))
        return out

    def _bias(self, site: Site, q: Tensor) -> float | Tensor:
        """What is added to our references' logits: one number, or one per token [B, M]."""
        return math.log(self.strength)

    def _as_flow(self, site: Site, averages: Tensor | None) -> Tensor | None:
        """What the observer is told [B, H, N, c] of what was averaged over our tokens."""
        return averages

    def _grid(self, site: Site, tokens: int) -> tuple[int, int]:
        """(h, w) on which one reference's tokens lie where it has so many."""
        return self.reference.grid(tokens)

    def _place(self, k: Tensor, site: Site) -> slice:
        """Where among the keys [B, H, M, d] our references' tokens are."""
        count = self.bank[site.layer].shape[1]
        first = self._first.get(site.layer, k.shape[2] - count)
        return slice(first, first + count)

    def _moments(self, site: Site, place: slice) -> Tensor:
        """What the observer averages over our references' tokens, [M, c], c = 0 for nothing."""
        tokens, count = place.stop - place.start, self.reference.count
        moments = None
        if self.observer is not None and self.observer.wants(site):
            moments = self.observer.moments(count, self._grid(site, tokens // count))
        return torch.zeros(tokens, 0) if moments is None else moments

    def denoised(self, x0: Tensor, step: Step) -> Tensor:
        if self.observer is not None:
            self.observer.stepped(step)
        return x0


def _split(k: Tensor, v: Tensor, places: Sequence[slice]) -> tuple[Tensor, ...]:
    """Keys and values of everything else, then those of the references at `places`."""
    ends = [0, *(place.stop for place in places)]
    starts = [*(place.start for place in places), k.shape[2]]
    rest = [slice(a, b) for a, b in zip(ends, starts, strict=True) if a < b]
    return tuple(_pick(x, which) for which in (rest, places) for x in (k, v))


def _pick(x: Tensor, places: Sequence[slice]) -> Tensor:
    parts = [x[:, :, place] for place in places]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _together(
    biases: Sequence[float | Tensor], places: Sequence[slice], q: Tensor
) -> float | Tensor:
    """What is added to the logits of all references: one number, or one per token [B, M]."""
    if not any(isinstance(bias, Tensor) for bias in biases) and len(set(biases)) == 1:
        return biases[0]
    each = [
        bias if isinstance(bias, Tensor) else q.new_full((len(q), p.stop - p.start), bias)
        for bias, p in zip(biases, places, strict=True)
    ]
    return torch.cat(each, 1)


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
