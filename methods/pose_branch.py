"""A drawn pose beside a frozen model: features added after its self-attentions.

Stage two of arXiv 2403.10731 is, by its abstract, a ControlNet-like model conditioned on the
skeleton. Ours adds to the output of every self-attention what a small network made of the drawing,
once for a whole run (our design, lighter than a ControlNet; the projections start at zero, as in
arXiv 2302.05543).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from .site import Method, Site, Step


class PoseGuide(Method):
    """Adds features to the self-attentions' outputs.

    features: {layer: [P, C, h, w]}, C as wide as the layer, for P pictures; the batch holds each
    as often, in their order. Another grid is reached by linear interpolation. strength: >= 0; 0 is
    as if it were not there. start, end: the part of the run, 0..1, in which it acts.
    """

    def __init__(
        self,
        features: Mapping[str, Tensor],
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
    ) -> None:
        self.features, self.strength, self.start, self.end_at = features, strength, start, end

    def active(self, step: Step) -> bool:
        return self.strength > 0 and self.start <= step.progress <= self.end_at

    def output(self, n_in: Tensor, n_out: Tensor, site: Site) -> Tensor:
        added = self.features.get(site.layer)
        if added is None:
            return n_out
        if len(n_out) % len(added):
            raise ValueError(
                f"Expected the batch to hold each of {len(added)} pose(s) equally often; got "
                f"{len(n_out)} rows. Give one pose for all, or one for each picture."
            )
        if tuple(added.shape[-2:]) != site.grid:
            added = F.interpolate(added, site.grid, mode="bilinear", align_corners=False)
        rows = added.to(n_out).flatten(2).mT
        return n_out + self.strength * rows.repeat(len(n_out) // len(rows), 1, 1)
