"""Where the routers send the pixels of real held-out scenes, against whose pixels they are."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.lending import lend
from ...methods.moa import MoA, RouteRecord
from ...methods.routes import resample
from ..people.portraits import FACES
from .subjects_scenes import Stage

TIMES = (250, 500, 750)  # of 1000: how noisy the scenes are
BATCH = 8


def iou(found: Tensor, truth: Tensor) -> float:
    """Mean over pictures [B, H, W] of intersection over union; both empty counts as nothing."""
    both = (found & truth).flatten(1).sum(1)
    either = (found | truth).flatten(1).sum(1)
    return float((both / either.clamp_min(1))[either > 0].mean())


@torch.no_grad()
def route_figures(stage: Stage, indices: Sequence[int], seed: int) -> dict[str, object]:
    """Scenes with their own people bound, noised: router_iou and background_to_prior, both per
    layer and as means over all but the first and the last, which the router's loss leaves out; the
    mean over all layers beside it; and subject_iou, of each subject's own route.
    """
    names = [f"{layer} {kind}" for layer in stage.router.layers for kind in ("self", "cross")]
    ious: dict[str, list[float]] = {name: [] for name in names}
    kept: dict[str, list[float]] = {name: [] for name in names}
    each: list[float] = []
    with lend(host, stage.model, stage.clip, stage.vae) as base, torch.no_grad():
        for start in range(0, len(indices), BATCH):
            which = list(indices[start : start + BATCH])
            images, owners = stage.scenes.take(torch.tensor(which))
            prompts = [stage.scenes.prompt(index) for index in which]
            people = [[p // FACES for p in stage.scenes.plan(index).portraits] for index in which]
            bound = [stage.bind(*row) for row in zip(prompts, people, strict=True)]
            x0 = base.encode(images.float() / 255)
            grey = torch.full(images.shape, 0.5)
            seen = base.paint(grey, torch.ones(images.shape[:3]))
            text = base.speak(prompts, None)
            for time in TIMES:
                sigma = base.sigmas[time].expand(len(which))
                g = torch.Generator().manual_seed(seed * 1000 + time)
                x = x0 + sigma.view(-1, 1, 1, 1) * torch.randn(x0.shape, generator=g)
                record = RouteRecord()
                base.predict(x, sigma, text, seen, (MoA(stage.router, bound, record=record),))
                size = tuple(owners.shape[1:])
                for name in names:
                    layer, kind = name.split()
                    share = resample(record.share(layer=layer, kind=kind), size)
                    ious[name].append(iou(share > 0.5, owners > 0))
                    kept[name].append(float((1 - share)[owners == 0].mean()))
                each.append(_subject_iou(record, owners, people))
    per_layer = {name: statistics.fmean(values) for name, values in ious.items()}
    to_prior = {name: statistics.fmean(values) for name, values in kept.items()}
    inner = [name for name in names if name.split()[0] in stage.router.layers[1:-1]]
    return {
        "router_iou": statistics.fmean(per_layer[name] for name in inner),
        "background_to_prior": statistics.fmean(to_prior[name] for name in inner),
        "background_to_prior_all_layers": statistics.fmean(to_prior.values()),
        "subject_iou": statistics.fmean(each),
        "router_iou_layers": per_layer,
        "background_to_prior_layers": to_prior,
    }


def _subject_iou(record: RouteRecord, owners: Tensor, people: Sequence[Sequence[int]]) -> float:
    """Each pixel that is routed to the personalised experts goes to the subject with the largest
    share; mean IoU over the people of all scenes.
    """
    most = max(map(len, people))
    size = tuple(owners.shape[1:])
    shares = torch.stack([resample(record.share(k), size) for k in range(most)], 1)
    taken = torch.where(shares.sum(1) > 0.5, shares.argmax(1) + 1, 0)
    values = [
        iou((taken[row] == k + 1)[None], (owners[row] == k + 1)[None])
        for row, those in enumerate(people)
        for k in range(len(those))
        if (owners[row] == k + 1).any()
    ]
    return statistics.fmean(values)
