"""Who is painted where: subjects bound to words, soft routes per pixel, and a record of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels import attention
from .pva import FaceEmbedding, Projections, layers_named
from .site import Site, Step

SHARPNESS, MARGIN = 3.0, 0.5  # of routes drawn from attention, in standard deviations
HALVES = ("coarse", "fine")


@dataclass(frozen=True)
class Subject:
    """A person in the scene: the word of the prompt that means them, pictures of them, and where
    they are, [H, W], 0..1, when the artist says so. Raises ValueError for another mask.
    """

    word: str
    faces: FaceEmbedding
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.ndim != 2:
            raise ValueError(
                f"Expected one mask [H, W] for the subject {self.word!r}; got a tensor of shape "
                f"{list(self.mask.shape)}. Give one mask per subject, not a batch."
            )


@dataclass(frozen=True)
class Bound:
    """A subject, and where in the text's tokens its word stands.

    length: how many tokens that text has, for hosts that repeat it to match a longer negative;
    every repetition is bound too. 0: the text is never repeated.
    """

    subject: Subject
    tokens: tuple[int, ...]
    length: int = 0

    def places(self, tokens: int) -> list[int]:
        """The positions in a text of so many tokens. Raises ValueError when it is too short."""
        if not self.tokens or max(self.tokens) >= tokens:
            raise ValueError(
                f"The subject {self.subject.word!r} is bound to the tokens {list(self.tokens)} of "
                f"a text that has {tokens}. Use the conditioning that was made with its prompt."
            )
        step = self.length or tokens
        return [start + t for start in range(0, tokens, step) for t in self.tokens]


@dataclass(frozen=True)
class Route:
    """What one layer did in one step: the share of the personalised experts [B, h, w], 0..1, and
    each subject's part of it [B, S, h, w], where the layer reads text.
    """

    grid: tuple[int, int]
    progress: float
    personal: Tensor
    subjects: Tensor | None


@dataclass
class RouteRecord:
    """Where each subject was painted during a sampling run; of the conditional rows.

    words: of the subjects, in their order; set by the method that fills the record. entries: by
    step, layer and kind of attention. after_step: called with the record and the step after every
    step that was recorded. Starts over with the next run.
    """

    words: tuple[str, ...] = ()
    entries: dict[tuple[int, str, str], Route] = field(default_factory=dict)
    after_step: Callable[[RouteRecord, Step], None] | None = None

    def begin(self) -> None:
        """A sampling run begins."""
        self.entries.clear()

    def stepped(self, step: Step) -> None:
        """A step of the run is done."""
        if self.after_step is not None and self.entries:
            self.after_step(self, step)

    def observe(self, site: Site, personal: Tensor, subjects: Tensor | None) -> None:
        """personal [B, N]: the share of the personalised experts; subjects [B, N, S]: the attention
        to each one's word, by which that share is divided, None where the layer reads no text.
        """
        share, each = personal.detach().float().unflatten(-1, site.grid), None
        if subjects is not None:
            part = subjects.detach().float()
            part = part / part.sum(-1, keepdim=True).clamp_min(1e-8)
            each = (part.mT.unflatten(-1, site.grid) * share.unsqueeze(1)).cpu()
        key = (site.step.index, site.layer, site.kind)
        self.entries[key] = Route(site.grid, site.step.progress, share.cpu(), each)

    def layers(self) -> tuple[str, ...]:
        """The ids of the layers that were recorded, in the order in which they run."""
        return tuple(dict.fromkeys(layer for _, layer, _ in self.entries))

    def share(
        self,
        subject: int | None = None,
        layer: str | None = None,
        start: float = 0.0,
        end: float = 1.0,
        kind: str | None = None,
    ) -> Tensor:
        """The mean share [B, h, w], 0..1, at the finest grid among the layers chosen.

        subject: its number, None for all together. layer, kind: None for the mean over all. start,
        end: the part of the sampling, 0..1. Raises ValueError when nothing of that was recorded.
        """
        chosen = [
            route
            for (_, where, what), route in self.entries.items()
            if layer in (None, where)
            and kind in (None, what)
            and start <= route.progress <= end
            and (subject is None or route.subjects is not None)
        ]
        return _mean(chosen, subject, f"layer {layer or 'any'}, {start} to {end} of the sampling")

    def over_time(
        self, subject: int | None = None, layer: str | None = None
    ) -> list[tuple[float, Tensor]]:
        """(progress, share [B, h, w]) of every step, in order; as `share`."""
        times = sorted({route.progress for route in self.entries.values()})
        if not times:
            raise ValueError(_nothing("any step"))
        return [(t, self.share(subject, layer, t, t)) for t in times]


def _mean(routes: Sequence[Route], subject: int | None, what: str) -> Tensor:
    if not routes:
        raise ValueError(_nothing(what))
    finest = max((route.grid for route in routes), key=lambda grid: grid[0] * grid[1])
    maps = [route.personal if subject is None else route.subjects[:, subject] for route in routes]
    return torch.stack([resample(m, finest) for m in maps]).mean(0).clamp(0, 1)


def _nothing(what: str) -> str:
    return (
        f"No routes were recorded for {what}: run the sampler first, with subjects and a strength "
        "above 0."
    )


def resample(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps [..., H, W] on another grid: averaged down, interpolated up."""
    if tuple(maps.shape[-2:]) == tuple(grid):
        return maps
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    down = maps.shape[-2] >= grid[0] and maps.shape[-1] >= grid[1]
    moved = F.interpolate(flat, grid, mode="area" if down else "bilinear")
    return moved.reshape(*maps.shape[:-2], *grid)


def soften(maps: Tensor) -> Tensor:
    """Maps [..., h, w] with borders about three cells wide: binomial weights 1, 2, 1."""
    flat = F.pad(maps.reshape(-1, 1, *maps.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    row = maps.new_tensor([0.25, 0.5, 0.25])
    return F.conv2d(flat, (row[:, None] * row)[None, None]).reshape(maps.shape)


def routes_of_masks(masks: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Soft routes [S, h, w] from the subjects' masks [H, W]; where masks overlap they share (our
    design).
    """
    maps = torch.stack([soften(resample(mask.float(), grid)) for mask in masks])
    return maps / maps.sum(0).clamp_min(1)


def routes_of_attention(maps: Tensor, temperature: float = 1.0) -> Tensor:
    """Soft routes from the attention to the subjects' words, [B, S, h, w] -> the same (our design).

    Every map is measured in its own standard deviations; a softmax over the subjects and the
    background, which counts as MARGIN deviations above the mean, decides; smoothed at the end.
    """
    mean = maps.mean((-2, -1), keepdim=True)
    spread = maps.std((-2, -1), keepdim=True).clamp_min(1e-8)
    score = SHARPNESS * ((maps - mean) / spread - MARGIN) / temperature
    background = torch.zeros_like(score[:, :1])
    return soften(torch.cat([background, score], 1).softmax(1)[:, 1:])


def word_attention(q: Tensor, k: Tensor, where: Tensor) -> Tensor:
    """How much of every query's attention goes to each subject's word, the mean over heads.

    q [B, H, N, d], k [B, H, M, d]; where [B, S, M]: 1 at a subject's tokens. Returns [B, N, S].
    """
    values = where.mT.to(k).unsqueeze(1).expand(-1, k.shape[1], -1, -1)
    return attention(q, k, values.contiguous()).mean(1)


def layers_chosen(
    branch: Mapping[str, Projections], layers: str | Sequence[str]
) -> dict[str, Projections]:
    """The part of a branch that `layers` names: "all", "coarse" or "fine" (its half with more, or
    fewer, channels), or layer ids. Raises ValueError for ids that it has not.
    """
    if layers == "all":
        return dict(branch)
    if layers in HALVES:
        return layers_named(branch, coarse=layers == HALVES[0])
    named = [layers] if isinstance(layers, str) else list(layers)
    unknown = [name for name in named if name not in branch]
    if unknown:
        raise ValueError(
            f"Expected layers among {', '.join(branch)}, or all, coarse or fine; got "
            f"{', '.join(unknown)}."
        )
    return {name: branch[name] for name in named}
