"""MoA: mixture-of-attention for several people in one scene (arXiv 2404.11565).

Every self- and cross-attention has two experts, the frozen prior and the personalised one with its
own queries, keys and values; a small router per layer says for every pixel how much of each goes
into the shared output projection. In cross-attention the personalised expert reads the multimodal
prompt, in which the subjects' words carry their pictures, and its queries are told where in the
picture they are (our design).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import attention, mixture_attention
from .moa_weights import KINDS, MoAWeights, bind, grid_places, picture_feature, rooms, route
from .pva import ROOMS
from .routed import Routed, RoutedAdapters, conditional_rows, prior_attention, split_heads
from .routes import (
    Bound,
    RouteRecord,
    Subject,
    layers_chosen,
    routes_of_masks,
    word_attention,
)
from .site import Method, Site

__all__ = ["Bound", "MoA", "MoAWeights", "RouteRecord", "RoutedAdapters", "Subject"]


class MoA(Routed):
    """R_prior prior + R_personal personalised, before the output projection (section 3.2).

    experts: weights for the model, see `MoAWeights.check`. subjects: who stands behind which words.
    strength: R_personal is multiplied by it and kept at most 1; R_prior is the rest (our design).
    Where every subject of a picture has a mask, that picture's routes end at them, softly (our
    design). Who stands where is said by a subject's mask, or else by the order of the words, from
    left to right, see `standing`. layers: where the experts act: "all", "coarse", "fine" or layer
    ids; the prior alone elsewhere.
    record: is filled with the routes, for which the attention to the words is computed once more.
    sigmas [rows]: the noise level of every conditional row, where the step says only their mean
    (training). The rest as in `Routed`. The unconditional rows see the prior alone.
    """

    kinds = KINDS

    def __init__(
        self,
        experts: MoAWeights,
        subjects: Sequence[Bound] | Sequence[Sequence[Bound]],
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        temperature: float = 1.0,
        layers: str | Sequence[str] = "all",
        record: RouteRecord | None = None,
        sigmas: Tensor | None = None,
    ) -> None:
        super().__init__(subjects, strength, start, end, temperature, record)
        self.experts, self.sigmas = experts, sigmas
        for bound in {id(b): b for row in self.rows for b in row}.values():
            experts.check_subject(bound.subject)
        self.layers = tuple(layers_chosen(experts.branch("cross"), layers))
        self._features = [[picture_feature(b.subject.faces) for b in row] for row in self.rows]
        self._standing = [standing(row) for row in self.rows]
        self._rooms = rooms(experts.tensors)
        self._limits: dict[tuple[int, int], Tensor] = {}
        self._places: dict[tuple, Tensor] = {}
        self._spots: dict[tuple, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        self._kept: dict[tuple[str, torch.dtype, torch.device], dict[str, Tensor]] = {}

    def end(self) -> None:
        super().end()
        self._kept, self._limits, self._places, self._spots = {}, {}, {}, {}

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        if site.layer in self.layers:
            self._inputs[site.layer, site.kind] = n
            if site.kind == "cross":
                self._inputs[site.layer, "text"] = keys
        return n, keys, values

    def attends(self, site: Site) -> bool:
        return site.layer in self.layers

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, site: Site, others: Sequence[Method] = ()
    ) -> Tensor:
        rows = conditional_rows(site.step)
        if not rows:
            return prior_attention(q, k, v, site, others)
        n = self._inputs[site.layer, site.kind][rows]
        personal = self.personalised(n, rows, site)
        share = self.shares(n, site)
        self._observe(site, share, personal)
        if not others and len(rows) == len(q):
            weights = torch.stack([1 - share, share], -1)
            return mixture_attention([(q, k, v), personal], weights)
        out = prior_attention(q, k, v, site, others).clone()
        mixed = share[:, None, :, None]
        out[rows] = (1 - mixed) * out[rows] + mixed * attention(*personal)
        return out

    def shares(self, n: Tensor, site: Site) -> Tensor:
        """R_personal of every pixel, [b, N], from the layer's input n [b, N, C]."""
        routes = route(self._room(f"router.{site.layer}.{site.kind}", n), n, self.temperature)
        share = routes[..., 1]
        if self.strength != 1:
            share = (share * self.strength).clamp(max=1)
        if not any(_all_masked(row) for row in self.rows):
            return share
        if site.grid not in self._limits:
            self._limits[site.grid] = torch.stack([_limit(row, site.grid) for row in self.rows])
        return share * self._limits[site.grid].to(share)

    def personalised(self, n: Tensor, rows: list[int], site: Site) -> tuple[Tensor, ...]:
        """(Q', K', V') of the personalised expert, [b, H, N or L, d]."""
        own = self._room(f"expert.{site.layer}.{site.kind}", n)
        seen = n if site.kind == "self" else self.prompt(rows, site)
        q, k, v = (F.linear(x, own[room]) for x, room in zip((n, seen, seen), ROOMS, strict=True))
        if site.kind == "cross":
            q = q + F.linear(self._where_cells_are(site.grid, n), own["place"])
        return tuple(split_heads(t, site.heads) for t in (q, k, v))

    def prompt(self, rows: list[int], site: Site) -> Tensor:
        """The multimodal prompt of these rows [b, L, W]: the text, with the subjects'
        words bound to their pictures.
        """
        text = self._inputs[site.layer, "text"][rows]
        row, place, features, across = self._bound(len(rows), text)
        sigma = torch.full((len(rows),), site.step.sigma) if self.sigmas is None else self.sigmas
        words = bind(
            self._room("binder", text),
            text[row, place],
            features,
            sigma.to(text.device)[row],
            across,
            self.experts.layers.index(site.layer),
        )
        return text.index_put((row, place), words)

    def _room(self, name: str, like: Tensor) -> dict[str, Tensor]:
        """Weights in the type and at the place of `like`; a run moves them once."""
        if torch.is_grad_enabled():
            return {key: t.to(like) for key, t in self._rooms[name].items()}
        key = name, like.dtype, like.device
        if key not in self._kept:
            self._kept[key] = {part: t.to(like) for part, t in self._rooms[name].items()}
        return self._kept[key]

    def _where_cells_are(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """[h * w, 4 PLACES], see `grid_places`; found once a run."""
        key = grid, like.dtype, like.device
        if key not in self._places:
            self._places[key] = grid_places(grid).to(like)
        return self._places[key]

    def _bound(self, count: int, text: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Every token that a subject is bound to: its row, its place, the subject's pictures
        [K, D], and where the subject stands [K]; found once a run. text [count, L, W].
        """
        key = count, text.shape[1], text.dtype, text.device
        if key not in self._spots:
            where = self.where(count, text.shape[1], text.device)
            row, number, place = where.nonzero(as_tuple=True)
            whose = row if len(self.rows) > 1 else torch.zeros_like(row)
            spots = zip(whose.tolist(), number.tolist(), strict=True)
            features, stands = zip(
                *((self._features[one][which], self._standing[one][which]) for one, which in spots),
                strict=True,
            )
            across = torch.tensor(stands, device=text.device)
            self._spots[key] = row, place, torch.stack(features).to(text), across
        return self._spots[key]

    def _observe(self, site: Site, share: Tensor, personal: tuple[Tensor, ...]) -> None:
        if self.record is None:
            return
        words = None
        if site.kind == "cross":
            q, k, _ = personal
            words = word_attention(q, k, self.where(len(q), k.shape[2], q.device))
        self.record.observe(site, share, words)


def standing(subjects: Sequence[Bound]) -> list[float]:
    """How far across the picture every subject stands, 0..1: in the middle of the mask; those
    without one share what is left of the width, in the order of their words (our design).
    """
    places = [(place + 0.5) / len(subjects) for place in range(len(subjects))]
    middles = [_middle(bound.subject.mask) for bound in subjects]
    for middle in sorted(m for m in middles if m is not None):
        places.remove(min(places, key=lambda place: abs(place - middle)))
    free = [number for number, middle in enumerate(middles) if middle is None]
    free.sort(key=lambda number: subjects[number].tokens)
    shared = dict(zip(free, places, strict=True))
    return [shared[number] if m is None else m for number, m in enumerate(middles)]


def _middle(mask: Tensor | None) -> float | None:
    """How far across a mask [H, W] is on average, 0..1; None where it says nothing."""
    if mask is None or not mask.any():
        return None
    columns = mask.float().sum(0)
    at = (torch.arange(len(columns), device=columns.device) + 0.5) / len(columns)
    return float((columns * at).sum() / columns.sum())


def _all_masked(subjects: Sequence[Bound]) -> bool:
    return bool(subjects) and all(bound.subject.mask is not None for bound in subjects)


def _limit(subjects: Sequence[Bound], grid: tuple[int, int]) -> Tensor:
    """Where the personalised experts may act in one picture, [h * w], 0..1."""
    if not _all_masked(subjects):
        return torch.ones(grid[0] * grid[1])
    return routes_of_masks([bound.subject.mask for bound in subjects], grid).sum(0).flatten()
