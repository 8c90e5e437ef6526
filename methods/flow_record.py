"""Looking at the attention over references while it happens: flow for the artist, and for the loss.

The attention over a reference is a flow field (Leffa, arXiv 2412.08486, section 3.2).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..kernels import flow_of_attention
from .flow import FlowField
from .site import Site, Step

MOMENTS = 4


class Observer:
    """Something that looks at the attention over the references; every call may be left out."""

    def begin(self) -> None:
        """A sampling run begins."""

    def wants(self, site: Site) -> bool:
        """Whether this layer's attention is to be observed, which costs some time."""
        return False

    def moments(self, references: int, grid: tuple[int, int]) -> Tensor | None:
        """Functions of the position in references of that grid to average, [R * h * w, c]."""
        return None

    def observe(self, site: Site, q: Tensor, k_ref: Tensor, averages: Tensor | None) -> None:
        """q [B, H, N, d], k_ref [B, H, M, d], averages [B, H, N, c] or None."""

    def stepped(self, step: Step) -> None:
        """A step of the run is done."""


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
class FlowRecord(Observer):
    """Where each token of a sampling run took its texture from.

    Filled by `Leffa` during sampling, per step and layer; starts over with the next run.
    layers: the layer ids to record (those whose attention was taught to be a flow), None for all.
    after_step: called with the record and the step after every step that was recorded.
    """

    layers: Sequence[str] | None = None
    entries: dict[tuple[int, str], tuple[tuple[int, int], float, Tensor]] = field(
        default_factory=dict
    )
    after_step: Callable[["FlowRecord", Step], None] | None = None

    def begin(self) -> None:
        self.entries.clear()

    def stepped(self, step: Step) -> None:
        if self.after_step is not None and self.entries:
            self.after_step(self, step)

    def wants(self, site: Site) -> bool:
        return any(site.step.conditional) and (self.layers is None or site.layer in self.layers)

    def moments(self, references: int, grid: tuple[int, int]) -> Tensor:
        return flow_moments(references, grid)

    def observe(self, site: Site, q: Tensor, k_ref: Tensor, averages: Tensor | None) -> None:
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
class CorrespondenceTap(Observer):
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
