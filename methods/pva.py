"""PVA: parallel visual attention for personalised face inpainting (arXiv 2312.03556).

Beside the queries, keys and values of the text, every cross-attention gains a second set for the
identity: one softmax over both, one output projection. The base model stays frozen; without
identity tokens it is what it was.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import attention, joint_attention
from .site import Method, Site, Step

ROOMS = ("to_q", "to_k", "to_v")


@dataclass(frozen=True)
class FaceEmbedding:
    """What is known of one person's face.

    vectors: [R, T, D], of R pictures, T = 1 for face networks, more where the network gives tokens.
    mirrored: the same of the mirrored pictures. source: which network made them. pictures:
    [R, H, W, 3], 0..1, square crops of the face. faces: [R, H, W], 0..1, where in them the face is.
    """

    vectors: Tensor
    mirrored: Tensor
    source: str
    pictures: Tensor
    faces: Tensor


@dataclass(frozen=True)
class Projections:
    """Q', K', V' of one layer: [inner, C], [inner, width] and [inner, width], without biases."""

    to_q: Tensor
    to_k: Tensor
    to_v: Tensor


class PVA(Method):
    """softmax([Q K_t^T, Q' K_v'^T] / sqrt(d)) [V_t; V_v'] in every cross-attention (section 3.2).

    branch: {layer: Projections}; layers that are missing stay the base's. tokens: the identity,
    [1 or batch, T, width]. strength: 0 is off (bit-identical to the base), 1 the paper's; between
    and above, the identity's share of the softmax is scaled by it (our design). start, end: the
    part of the sampling, 0..1, in which the identity is seen. everywhere: the unconditional rows
    see it too, which the published code does for editing attributes; by default they see the text
    alone. Several PVAs on one model share the softmax.
    """

    kinds = ("cross",)

    def __init__(
        self,
        branch: Mapping[str, Projections],
        tokens: Tensor,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        everywhere: bool = False,
    ) -> None:
        if strength < 0:
            raise ValueError(f"PVA strength must be >= 0, got {strength}.")
        if start > end:
            raise ValueError(f"PVA start ({start}) must not lie after its end ({end}).")
        self.branch, self.tokens = branch, tokens
        self.strength, self.start, self.end_at = strength, start, end
        self.everywhere = everywhere
        self._inputs: dict[str, Tensor] = {}
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    def begin(self) -> None:
        self._kept = {}

    def end(self) -> None:
        self._inputs, self._kept = {}, {}

    def active(self, step: Step) -> bool:
        seen = self.everywhere or any(step.conditional)
        within = self.start <= step.progress <= self.end_at
        return seen and within and self.strength > 0 and self.tokens.shape[1] > 0

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        if site.kind == "cross" and site.layer in self.branch:
            self._inputs[site.layer] = n
        return n, keys, values

    def attends(self, site: Site) -> bool:
        return site.kind == "cross" and site.layer in self.branch

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, site: Site, others: Sequence[Method] = ()
    ) -> Tensor:
        """One softmax for the text and every PVA's identity; rows without one see the text."""
        branches = [method for method in (*others, self) if isinstance(method, PVA)]
        groups = _rows_alike([method._rows(site.step) for method in branches])
        if len(groups) == 1:
            return _attend(q, k, v, site, groups[0][1], branches, slice(None))
        out = q.new_empty(*q.shape[:3], v.shape[-1])
        for rows, seen in groups:
            out[rows] = _attend(q[rows], k[rows], v[rows], site, seen, branches, rows)
        return out

    def _rows(self, step: Step) -> tuple[bool, ...]:
        return tuple(self.everywhere or flag for flag in step.conditional)

    def source(self, q: Tensor, site: Site, rows: slice | list[int]) -> tuple[Tensor, ...]:
        """(Q', K', V') of the identity for these rows of the batch, [b, H, N or T, d]."""
        own = self.branch[site.layer]
        n = self._inputs[site.layer][rows]
        count = len(self.tokens)
        if count > 1:
            step = site.step
            row = _number_among_alike(step.conditional)
            shown = row if isinstance(rows, slice) else [row[i] for i in rows]
            if max(row) >= count:
                raise ValueError(
                    f"{count} identities for a batch of {max(row) + 1}: expected 1 or "
                    f"{max(row) + 1}. Give one person for all pictures, or one for each."
                )
        keys, values = self._keys(own, site.layer, q)
        if count > 1:
            keys, values = keys[shown], values[shown]
        projected = (F.linear(n, own.to_q.to(n)), keys, values)
        return tuple(_heads(t, site.heads).expand(len(q), -1, -1, -1) for t in projected)

    def _keys(self, own: Projections, layer: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """K' and V' of the tokens: the same at every step, so that a run computes them once."""
        if layer in self._kept and not torch.is_grad_enabled():
            return self._kept[layer]
        tokens = self.tokens.to(like)
        made = tuple(F.linear(tokens, w.to(like)) for w in (own.to_k, own.to_v))
        if not torch.is_grad_enabled():
            self._kept[layer] = made
        return made


def layers_named(branch: Mapping[str, Projections], coarse: bool) -> dict[str, Projections]:
    """The coarse or the fine half of a branch's layers: those of more, or of fewer, channels than
    the middle between the extremes; what lies in between is coarse.
    """
    widths = {layer: own.to_q.shape[0] for layer, own in branch.items()}
    middle = (min(widths.values()) + max(widths.values())) / 2
    return {layer: own for layer, own in branch.items() if (widths[layer] >= middle) == coarse}


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    site: Site,
    seen: tuple[bool, ...],
    branches: Sequence[PVA],
    rows: slice | list[int],
) -> Tensor:
    shown = [method for method, there in zip(branches, seen, strict=True) if there]
    if not shown:
        return attention(q, k, v)
    sources = [(q, k, v), *(method.source(q, site, rows) for method in shown)]
    return joint_attention(_weighted(sources, [1.0, *(m.strength for m in shown)]))


def _weighted(sources: list[tuple[Tensor, ...]], shares: list[float]) -> list[tuple[Tensor, ...]]:
    """Scales every source's share of the softmax: one more coordinate, the product of which over
    queries and keys adds log(share) to the logits.
    """
    if all(share == 1 for share in shares):
        return sources
    d = sources[0][0].shape[-1]
    grown = math.sqrt((d + 1) / d)  # the kernels divide by the square root of the dimension
    return [
        (
            F.pad(q * grown, (0, 1), value=1.0),
            F.pad(k, (0, 1), value=math.log(share) * math.sqrt(d + 1)),
            v,
        )
        for (q, k, v), share in zip(sources, shares, strict=True)
    ]


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _rows_alike(
    seen: Sequence[tuple[bool, ...]],
) -> list[tuple[list[int], tuple[bool, ...]]]:
    """Batch rows grouped by which methods show them something."""
    groups: dict[tuple[bool, ...], list[int]] = {}
    for row, flags in enumerate(zip(*seen, strict=True)):
        groups.setdefault(flags, []).append(row)
    return [(rows, flags) for flags, rows in groups.items()]


def _number_among_alike(conditional: Sequence[bool]) -> list[int]:
    """Each row's number among the conditional, or the unconditional, rows."""
    counts = {True: 0, False: 0}
    out = []
    for flag in conditional:
        out.append(counts[flag])
        counts[flag] += 1
    return out
