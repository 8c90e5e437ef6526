"""What teaches a mixture of attention: where the routes and the words' attention have to lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .routes import RouteRecord, resample
from .site import Site


class RouteTap(RouteRecord):
    """Keeps the routes of one call with their gradients, in the place of a record.

    personal: by (layer, kind) the share of the personalised expert [B, h, w]. words: by layer the
    attention to each subject's word, [B, S, h, w].
    """

    def __init__(self) -> None:
        super().__init__()
        self.personal: dict[tuple[str, str], Tensor] = {}
        self.attention: dict[str, Tensor] = {}

    def observe(self, site: Site, personal: Tensor, subjects: Tensor | None) -> None:
        self.personal[site.layer, site.kind] = personal.unflatten(-1, site.grid)
        if subjects is not None:
            self.attention[site.layer] = subjects.mT.unflatten(-1, site.grid)


def masked_error(error: Tensor, mask: Tensor) -> Tensor:
    """The mean of an error [B, C, h, w] over what is 1 in mask [B, 1, h, w]; shares count as such.
    0 where the mask is empty.
    """
    return (error * mask).sum() / mask.sum().clamp_min(1e-6) / error.shape[1]


def router_loss(tap: RouteTap, mask: Tensor, layers: Sequence[str]) -> Tensor:
    """|| (1 - M) (1 - mean_l R_prior) ||^2: the background belongs to the prior.

    mask [B, H, W]: 1 where a subject is. layers: all, in the order in which they run; the first and
    the last are left out. The paper does not say sum or mean: ours is the mean over cells, at the
    finest grid among the layers.
    """
    finest, shares = _inner(tap, layers)
    personal = torch.stack(shares).mean(0)
    return ((1 - resample(mask, finest)) * personal).square().mean()


def people_loss(tap: RouteTap, mask: Tensor, layers: Sequence[str]) -> Tensor:
    """mean_l || M (1 - R_personal) ||^2: the people belong to the personalised experts, in every
    layer but the first and the last; arguments as in `router_loss`.

    Our design, beyond the paper: an expert that knows nobody yet is worth nothing to the denoising
    loss, and after a hundred steps of `router_loss` alone the prior had all pixels.
    """
    finest, shares = _inner(tap, layers)
    return (resample(mask, finest) * (1 - torch.stack(shares))).square().mean()


def _inner(tap: RouteTap, layers: Sequence[str]) -> tuple[tuple[int, int], list[Tensor]]:
    """The shares of all layers but the first and the last, at the finest grid among them."""
    inner = set(layers[1:-1])
    shares = [share for (layer, _), share in tap.personal.items() if layer in inner]
    finest = max((tuple(s.shape[-2:]) for s in shares), key=lambda grid: grid[0] * grid[1])
    return finest, [resample(share, finest) for share in shares]


def balanced_l1(tap: RouteTap, masks: Tensor, present: Tensor) -> Tensor:
    """mean(A outside) - mean(A inside) of each subject's word, the mean over subjects and layers:
    a word is looked at where its person is (FastComposer, arXiv 2305.10431).

    masks [B, S, H, W]; present [B, S]: which of them are there.
    """
    values = []
    for seen in tap.attention.values():
        inside = resample(masks, tuple(seen.shape[-2:])).to(seen)
        outside = 1 - inside
        of = [
            (seen * where).sum((-2, -1)) / where.sum((-2, -1)).clamp_min(1e-6)
            for where in (outside, inside)
        ]
        values.append(((of[0] - of[1]) * present).sum() / present.sum().clamp_min(1))
    return torch.stack(values).mean()


def mixing(tap: RouteTap, masks: Tensor, present: Tensor) -> Tensor:
    """-log of what one's own word gets of the attention to all subjects' words, the mean over
    everybody's cells and over layers; 0 where nobody is mistaken. Arguments as in `balanced_l1`.

    Our design, beyond the paper: the balanced L1 is content with two words that are looked at
    equally by both people.
    """
    values = []
    for seen in tap.attention.values():
        inside = resample(masks, tuple(seen.shape[-2:])).to(seen) * present[:, :, None, None]
        there = (seen + 1e-6) * present[:, :, None, None]
        own = there / there.sum(1, keepdim=True).clamp_min(1e-6)
        values.append(-(inside * own.clamp_min(1e-6).log()).sum() / inside.sum().clamp_min(1e-6))
    return torch.stack(values).mean()
