"""`mannequin bench subjects`: several people in one scene, each still themselves, and the scene
still the prior's?

Held-out people take the places of others in held-out scenes of two. Three samples from the same
noise: the prior's, MoA's, and that of the personalised branch alone, without a router; MoA's once
more with a mask for every person, and all of them with the scene painted too.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from ...methods.moa import MoA, RouteRecord
from ...methods.routes import resample
from ..people.portrait_shards import write_portraits
from ..people.portraits import FACES
from ..training.inpaint import HELDOUT_PORTRAITS
from ..training.moa_learned import BranchAlone
from ..training.models import PERSON_WEIGHTS
from .metrics import psnr, ssim
from .sheet import contact_sheet
from .subjects_routes import route_figures
from .subjects_scenes import (
    Cast,
    Stage,
    bound_of,
    draw_cast,
    likeness,
    load_stage,
    own_likeness,
    paint,
    told_apart,
)
from .subjects_table import WHOLE, table

FOLDER = PERSON_WEIGHTS.parent
FILES = (
    FOLDER / "inpaint" / "mannequin-tiny-inpaint.safetensors",
    FOLDER / "routers" / "mannequin-tiny-moa.safetensors",
    FOLDER / "faces" / "mannequin-tiny-face.safetensors",
)
JUDGE = Path(__file__).parent / "weights" / "face-judge.safetensors"
SCENES, ROUTED_SCENES, BATCH, SHOWN = 64, 48, 8, 6
DIVERSE_SCENES, SEEDS, TIMED = 4, 16, 7
GROUPS = ("skin_tone", "gender", "age")
ACCURACY = {"moa": "", "branch": "_no_router", "prior": "_prior", "masked": "_masked"}


def samples(
    stage: Stage, cast: Cast, seed: int, everything: bool = False
) -> tuple[dict[str, Tensor], Tensor]:
    """Every scene as "prior", "moa", "branch" and "masked", each [N, 64, 128, 3]; and where MoA
    routed people [N, h, w].
    """
    out: dict[str, list[Tensor]] = {}
    maps = []
    for start in range(0, len(cast), BATCH):
        part = cast.some(range(start, min(start + BATCH, len(cast))))
        bound, record = bound_of(stage, part), RouteRecord()
        methods = {
            "prior": None,
            "moa": MoA(stage.router, bound, record=record),
            "branch": BranchAlone(stage.router, bound),
            "masked": MoA(stage.router, bound_of(stage, part, masked=True)),
        }
        for kind, method in methods.items():
            out.setdefault(kind, []).append(paint(stage, part, seed + start, method, everything))
        maps.append(record.share())
    return {kind: torch.cat(parts) for kind, parts in out.items()}, torch.cat(maps)


def measured(
    cast: Cast, painted: dict[str, Tensor], scores: dict[str, Tensor], after: str = ""
) -> dict[str, float]:
    """The figures of pictures from `samples` and of their `likeness`; names end in `after`."""
    where = cast.background()
    out = {f"id_{kind}{after}": float(own_likeness(s).mean()) for kind, s in scores.items()}
    for kind in ("moa", "masked", "branch"):
        same = (painted[kind], painted["prior"], where)
        out[f"background_psnr_{kind}{after}"] = psnr(*same)
        out[f"background_ssim_{kind}{after}"] = ssim(*same)
    for kind, score in scores.items():
        out[f"two_subject_accuracy{ACCURACY[kind]}{after}"] = told_apart(score)
    return out


def diversity(stage: Stage, cast: Cast, seed: int) -> float:
    """Variance of the background's pixels over SEEDS samples of everything, MoA's over the
    prior's.
    """
    variance: dict[str, list[float]] = {"prior": [], "moa": []}
    for row in range(min(DIVERSE_SCENES, len(cast))):
        same = cast.some([row] * SEEDS)
        where = cast.background()[row]
        for kind in variance:
            method = MoA(stage.router, bound_of(stage, same)) if kind == "moa" else None
            painted = paint(stage, same, seed + row, method, everything=True)
            variance[kind].append(float(painted.var(0)[where].mean()))
    return statistics.fmean(variance["moa"]) / statistics.fmean(variance["prior"])


def step_ratio(stage: Stage, cast: Cast) -> float:
    """CPU time of sampling one scene with MoA over that without; medians of alternating runs."""
    one = cast.some([0])
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * TIMED + 2):
        method = MoA(stage.router, bound_of(stage, one)) if turn % 2 else None
        started = time.process_time()
        paint(stage, one, 0, method)
        if turn > 1:
            seconds[method is not None].append(time.process_time() - started)
    return statistics.median(seconds[True]) / statistics.median(seconds[False])


def by_group(stage: Stage, cast: Cast, own: Tensor) -> dict[str, tuple[int, float]]:
    """Size and mean likeness of every group of people; own [N, 2]."""
    facts = [stage.faces.facts[p * FACES] for people in cast.people for p in people]
    out = {}
    for key in GROUPS:
        for value in sorted({one[key] for one in facts}):
            rows = torch.tensor([one[key] == value for one in facts])
            name = f"{key.replace('_', ' ')} {value}"
            out[name] = (int(rows.sum()), float(own.flatten()[rows].mean()))
    return out


def run(seed: int, out: Path, pairs: int | None = None) -> dict[str, float]:
    """Renders, paints, measures; writes `out` (JSON), a table and a sheet.

    pairs: how many scenes of two people to paint, for a quick look; default SCENES.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / "portraits-heldout"
    write_portraits(folder, 0, HELDOUT_PORTRAITS, "heldout", processes=2)
    stage = load_stage(FILES, JUDGE, folder)
    cast = draw_cast(stage, pairs or SCENES, seed)
    painted, maps = samples(stage, cast, seed)
    whole, _ = samples(stage, cast, seed, everything=True)
    scores, whole_scores = (
        {kind: likeness(stage, cast, pictures) for kind, pictures in each.items()}
        for each in (painted, whole)
    )
    routed = route_figures(stage, range(min(ROUTED_SCENES, len(stage.scenes))), seed)
    figures = measured(cast, painted, scores)
    figures["id_ratio"] = figures["id_moa"] / figures["id_branch"]
    figures |= {
        **{name: value for name, value in routed.items() if isinstance(value, float)},
        "diversity_ratio": diversity(stage, cast, seed),
        "step_ratio": step_ratio(stage, cast),
        **measured(cast, whole, whole_scores, WHOLE),
    }
    figures = {name: round(value, 4) for name, value in figures.items()}
    written = {
        "seed": seed,
        "scenes": len(cast),
        "routed_scenes": min(ROUTED_SCENES, len(stage.scenes)),
        **figures,
        **{name: value for name, value in routed.items() if name not in figures},
        "groups": by_group(stage, cast, own_likeness(scores["moa"])),
    }
    out.write_text(json.dumps(written, indent=1))
    out.with_suffix(".md").write_text(table(written), encoding="utf-8")
    contact_sheet(_rows(stage, cast, painted, maps, whole), per_row=SHOWN).save(
        out.with_suffix(".jpg"), quality=90
    )
    return figures


def _rows(
    stage: Stage,
    cast: Cast,
    painted: dict[str, Tensor],
    maps: Tensor,
    whole: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The sheet's rows: whose places, a reference of each person side by side, the samples, and
    MoA's routes.
    """
    shown = slice(SHOWN)
    first = torch.tensor([[p * FACES + 1 for p in people] for people in cast.people[shown]])
    faces = stage.faces.take(first.flatten())[0].float().unflatten(0, (-1, 2)) / 255
    routes = resample(maps[shown], tuple(cast.owner.shape[1:]))
    return {
        "in their places": cast.picture[shown],
        "references": torch.cat([faces[:, 0], faces[:, 1]], 2),
        "the prior": painted["prior"][shown],
        "MoA": painted["moa"][shown],
        "its routes": routes.unsqueeze(-1).expand(-1, -1, -1, 3),
        "with masks": painted["masked"][shown],
        "branch alone": painted["branch"][shown],
        "all painted: prior": whole["prior"][shown],
        "all painted: MoA": whole["moa"][shown],
        "all, with masks": whole["masked"][shown],
    }
