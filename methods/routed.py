"""Methods that send every pixel to the expert of the person it belongs to, and the one that needs
no training: existing adapters as experts, routes from masks or from the attention itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import attention, joint_attention
from .person_adapter import PersonAdapter, resolve_vectors
from .pva import Projections
from .routes import (
    Bound,
    RouteRecord,
    layers_chosen,
    resample,
    routes_of_attention,
    routes_of_masks,
    word_attention,
)
from .site import Method, Site, Step

RATE = 0.15  # of a layer's attention in the running mean that routes are drawn from


class Routed(Method):
    """What such methods share: when they act, on which rows, and which words are whose.

    subjects: for all pictures of the batch, or one sequence for each. strength: of the personal
    routes, >= 0; at 0, without subjects, and outside start..end (0..1 of the sampling) nothing is
    touched. temperature > 0: of the softmax of the routes; small ones decide harder. Raises
    ValueError for what is out of range.
    """

    mixes = True

    def __init__(
        self,
        subjects: Sequence[Bound] | Sequence[Sequence[Bound]],
        strength: float,
        start: float,
        end: float,
        temperature: float,
        record: RouteRecord | None,
    ) -> None:
        name = type(self).__name__
        if strength < 0:
            raise ValueError(f"{name} strength must be >= 0, got {strength}.")
        if start > end:
            raise ValueError(f"{name} start ({start}) must not lie after its end ({end}).")
        if not temperature > 0:
            raise ValueError(f"{name} temperature must be above 0, got {temperature}.")
        given = list(subjects)
        shared = all(isinstance(one, Bound) for one in given)
        self.rows: list[list[Bound]] = [given] if shared else [list(row) for row in given]
        self.strength, self.start, self.end_at = strength, start, end
        self.temperature = temperature
        self.record = record
        if record is not None:
            record.words = tuple(bound.subject.word for bound in self.rows[0])
        self._inputs: dict[tuple[str, str], Tensor] = {}
        self._where: dict[tuple[int, int, torch.device], Tensor] = {}

    def begin(self) -> None:
        self._where = {}
        if self.record is not None:
            self.record.begin()

    def end(self) -> None:
        self._inputs, self._where = {}, {}

    def active(self, step: Step) -> bool:
        within = self.start <= step.progress <= self.end_at
        return within and self.strength > 0 and any(self.rows) and any(step.conditional)

    def denoised(self, x0: Tensor, step: Step) -> Tensor:
        if self.record is not None:
            self.record.stepped(step)
        return x0

    def people(self, count: int) -> list[list[Bound]]:
        """The subjects of `count` conditional rows. Raises ValueError when they do not fit."""
        if len(self.rows) not in (1, count):
            raise ValueError(
                f"{len(self.rows)} lists of subjects for a batch of {count}: expected 1 or {count}."
            )
        return self.rows if len(self.rows) == count else self.rows * count

    def where(self, count: int, tokens: int, device: torch.device) -> Tensor:
        """1 where a token of the text is a subject's word: [count, S, tokens]."""
        key = (count, tokens, device)
        if key not in self._where:
            people = self.people(count)
            most = max(map(len, people))
            out = torch.zeros(count, most, tokens)
            for row, bounds in enumerate(people):
                for number, bound in enumerate(bounds):
                    out[row, number, bound.places(tokens)] = 1
            self._where[key] = out.to(device)
        return self._where[key]


def conditional_rows(step: Step) -> list[int]:
    """The numbers of the batch rows that belong to the positive prompt."""
    return [row for row, conditional in enumerate(step.conditional) if conditional]


def prior_attention(
    q: Tensor, k: Tensor, v: Tensor, site: Site, others: Sequence[Method]
) -> Tensor:
    """The attention without us: plain, or what the methods before us make of it."""
    if not others:
        return attention(q, k, v)
    return others[-1].attend(q, k, v, site, others[:-1])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, H * d] -> [B, H, N, d]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class RoutedAdapters(Routed):
    """(1 - sum_s R_s) prior + sum_s R_s expert_s in every cross-attention, without any training.

    branch: the adapter's projections per layer; tokens: each subject's identity, [1, T, width], in
    the order of the subjects. The expert of a subject is one softmax over text and identity (PVA),
    or, with `apart`, the text's attention plus the identity's own (IP-Adapter). Its routes R_s come
    from its mask, or else from the attention of the text to its word, outside the others' masks.
    layers: "all", "coarse", "fine" or layer ids. The rest as in `Routed`. Our design: the paper
    trains its experts and routers.
    """

    kinds = ("cross",)

    def __init__(
        self,
        branch: Mapping[str, Projections],
        subjects: Sequence[Bound],
        tokens: Sequence[Tensor],
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        temperature: float = 1.0,
        layers: str | Sequence[str] = "all",
        record: RouteRecord | None = None,
        apart: bool = False,
    ) -> None:
        super().__init__(subjects, strength, start, end, temperature, record)
        if len(tokens) != len(subjects):
            raise ValueError(
                f"Expected identity tokens for each of {len(subjects)} subjects; got {len(tokens)}."
            )
        self.branch = layers_chosen(branch, layers)
        self.tokens, self.apart = list(tokens), apart
        self.masks = [bound.subject.mask for bound in subjects]
        self._kept: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._map: Tensor | None = None

    @classmethod
    def of(
        cls,
        adapter: PersonAdapter,
        base: Mapping[str, Projections],
        subjects: Sequence[Bound],
        **how: object,
    ) -> RoutedAdapters:
        """From an adapter's file and a model's cross-attentions. Raises ValueError when the file
        is for another model, or the faces are another network's.
        """
        tokens = [adapter.tokens(resolve_vectors(adapter, b.subject.faces)) for b in subjects]
        apart = bool(adapter.config.get("numbered"))
        return cls(adapter.branch(base), subjects, tokens, apart=apart, **how)

    def begin(self) -> None:
        super().begin()
        self._kept, self._map = {}, None

    def end(self) -> None:
        super().end()
        self._kept, self._map = {}, None

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.attends(site):
            self._inputs[site.layer, site.kind] = n
        return n, keys, values

    def attends(self, site: Site) -> bool:
        return site.kind == "cross" and site.layer in self.branch

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, site: Site, others: Sequence[Method] = ()
    ) -> Tensor:
        prior = prior_attention(q, k, v, site, others)
        rows = conditional_rows(site.step)
        if not rows:
            return prior
        text = q[rows], k[rows], v[rows]
        shares = self.routes(text[0], text[1], site)
        mixed = prior[rows] * (1 - shares.sum(1))[:, None, :, None]
        for number in range(len(self.tokens)):
            expert = self._expert(number, text, prior[rows], site, rows)
            mixed = mixed + expert * shares[:, number, None, :, None]
        if self.record is not None:
            self.record.observe(site, shares.sum(1), shares.mT)
        out = prior.clone()
        out[rows] = mixed
        return out

    def routes(self, q: Tensor, k: Tensor, site: Site) -> Tensor:
        """R_s for every conditional row and pixel, [b, S, N], their sum at most 1."""
        drawn = [number for number, mask in enumerate(self.masks) if mask is not None]
        free = [number for number, mask in enumerate(self.masks) if mask is None]
        out = q.new_zeros(len(q), len(self.masks), *site.grid)
        if drawn:
            masks = [self.masks[number] for number in drawn]
            out[:, drawn] = routes_of_masks(masks, site.grid).to(out)
        if free:
            where = self.where(len(q), k.shape[2], q.device)[:, free]
            seen = self._remember(word_attention(q, k, where).mT.unflatten(-1, site.grid))
            left = 1 - out.sum(1, keepdim=True)
            out[:, free] = routes_of_attention(seen.float(), self.temperature).to(out) * left
        out = (out * self.strength).flatten(2)
        return out / out.sum(1, keepdim=True).clamp_min(1)

    def _remember(self, maps: Tensor) -> Tensor:
        """The running mean of the attention to the words over layers and steps, on this grid; each
        layer's map counts relative to its own mean. maps [b, S, h, w].
        """
        grid = tuple(maps.shape[-2:])
        now = maps / maps.mean((-2, -1), keepdim=True).clamp_min(1e-8)
        before = self._map
        if before is None or before.shape[:2] != now.shape[:2]:
            self._map = now
            return now
        finer = max(tuple(before.shape[-2:]), grid, key=lambda g: g[0] * g[1])
        self._map = torch.lerp(resample(before, finer), resample(now, finer), RATE)
        return resample(self._map, grid)

    def _expert(
        self,
        number: int,
        text: tuple[Tensor, Tensor, Tensor],
        prior: Tensor,
        site: Site,
        rows: list[int],
    ) -> Tensor:
        """What the expert of one subject says, [b, H, N, d]."""
        q = text[0]
        keys, values = (
            split_heads(t, site.heads).expand(len(q), -1, -1, -1)
            for t in self._keys(site.layer, number, q)
        )
        if self.apart:
            return prior + attention(q, keys, values)
        n = self._inputs[site.layer, site.kind][rows]
        own = split_heads(F.linear(n, self.branch[site.layer].to_q.to(n)), site.heads)
        return joint_attention([text, (own, keys, values)])

    def _keys(self, layer: str, number: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """K' and V' of a subject's tokens: the same at every step, computed once a run."""
        if (layer, number) not in self._kept:
            own, tokens = self.branch[layer], self.tokens[number].to(like)
            self._kept[layer, number] = tuple(
                F.linear(tokens, weight.to(like)) for weight in (own.to_k, own.to_v)
            )
        return self._kept[layer, number]
