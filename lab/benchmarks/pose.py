"""`mannequin bench pose`: is the pose right, and is the source's gone?

Held-out people are painted in another pose by plain reference attention, with the recurrent
aligner, with gradient guidance, and with both: same base, seeds and noise. A network that only
measures (`mannequin train hand-detector --kind body`) finds the joints; what it makes of the true
pictures is reported beside every figure. The headline is told imperfect dense poses and an
imperfect finder's joints, as users have them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...methods.pose_guidance import GuidanceReport
from ..training.aligner import WEIGHTS as ALIGNER
from ..training.hand_detector import MEASURES, PointNet, error_of, load_points, points_of
from ..training.pose_head import WEIGHTS as POSE
from ..training.tiny import WEIGHTS as PERSON
from . import pose_painting as painting
from . import pose_valid as valid
from .groups import ATTRIBUTES
from .metrics import garment, psnr, ssim
from .pose_measures import leakage, reduction, turning_point
from .pose_painting import ITERATIONS, SCALE, PosePainter, Way
from .pose_pairs import PosePairs, pose_pairs
from .pose_plots import curves_picture, field_picture
from .pose_sheet import sheet
from .pose_table import table

FILES = {
    PERSON: "mannequin train tiny",
    ALIGNER: "mannequin train aligner",
    POSE: "mannequin train pose-head",
    MEASURES / "body-points.safetensors": "mannequin train hand-detector --kind body",
}
PAIRS, SOUGHT = 60, 12  # as they come, and of each kind that is chosen because it is hard
EVERY = 3  # curves are measured on every third pair


@dataclass(frozen=True)
class Plan:
    """steps: of the headline; many: of plain reference attention against it. iterations, scales,
    fewer: the curves' points, the last of steps below `steps`. turns, timed: runs and pictures of
    a timing. people: whose poses the field judges.
    """

    steps: int = 12
    many: int = 30
    iterations: tuple[int, ...] = (0, 1, 2, 3, 4)
    scales: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    fewer: tuple[int, ...] = (2, 4, 8)
    turns: int = 3
    timed: int = 4
    people: int = 400

    @property
    def ways(self) -> dict[str, Way]:
        """By the ending of their figures."""
        return {
            "": Way(self.steps, ITERATIONS, SCALE),
            "_aligned": Way(self.steps, ITERATIONS),
            "_guided": Way(self.steps, scale=SCALE),
            "_plain": Way(self.steps),
            "_30_plain": Way(self.many),
        }


@dataclass(frozen=True)
class Measured:
    """Per picture [B]: kp, mean distance of the seen joints in shares of the picture's height;
    leak, see `leakage`; ssim of garments and psnr of the person against the true picture.
    """

    kp: Tensor
    leak: Tensor
    ssim: Tensor
    psnr: Tensor

    def mean(self, name: str, rows: Tensor | slice = slice(None)) -> float:
        return round(float(getattr(self, name)[rows].nanmean()), 4)


def measure(
    judge: PointNet,
    pictures: Tensor,
    held: PosePairs,
    rows: Sequence[int],
    find: Callable[[PointNet, Tensor], Tensor] = points_of,
) -> Measured:
    """Pictures [B, H, W, 3] of the pairs `rows`; find: how the judge finds joints [B, 18, 3]."""
    height, width = pictures.shape[1:3]
    which = list(rows)
    target, source = held.target_points[which], held.source_points[which]
    found = find(judge, pictures)
    truth, label = held.pairs.target[which], held.pairs.label[which]
    clothes, person = garment(label), label > 0
    each = [slice(i, i + 1) for i in range(len(which))]
    return Measured(
        error_of(found, target, float(height)),
        leakage(found, target, source, height, width),
        torch.tensor([ssim(pictures[i], truth[i], clothes[i]) for i in each]),
        torch.tensor([psnr(pictures[i], truth[i], person[i]) for i in each]),
    )


@dataclass
class Bench:
    """What is painted and measured, each way once."""

    painter: PosePainter
    judge: PointNet
    held: PosePairs
    seed: int
    plan: Plan

    def __post_init__(self) -> None:
        self.told = {
            "": self.held.found(self.seed),
            "_exact": self.held.exact(),
            "_armless": self.held.armless(self.seed),
        }
        self.pictures: dict[tuple[str, Way], Tensor] = {}
        self.reports: dict[tuple[str, Way], GuidanceReport] = {}
        self._measured: dict[tuple[str, Way], Measured] = {}

    def painted(self, condition: str, way: str) -> Tensor:
        """The pictures of all pairs, told `condition`, by a way of the plan."""
        self.of(condition, way)
        return self.pictures[condition, self.plan.ways[way]]

    def of(self, condition: str, way: str) -> Measured:
        """All pairs, told `condition`, by a way of the plan."""
        key = condition, self.plan.ways[way]
        if key not in self._measured:
            self.reports[key] = GuidanceReport()
            made = self.painter.paint(self.told[condition], key[1], self.seed, self.reports[key])
            self.pictures[key] = made
            self._measured[key] = measure(self.judge, made, self.held, range(len(self.held)))
            found = self._measured[key].mean("kp")
            print(json.dumps({"told": condition, **vars(key[1]), "kp_error": found}), flush=True)
        return self._measured[key]

    def some(self, way: Way) -> dict[str, float]:
        """The figures of every third pair, imperfectly told; what was painted already is used."""
        rows = list(range(0, len(self.held), EVERY))
        if ("", way) in self._measured:
            found = self._measured["", way]
            found = Measured(*(getattr(found, name)[rows] for name in vars(found)))
        else:
            made = self.painter.paint(self.told[""].rows(rows), way, self.seed)
            found = measure(self.judge, made, self.held, rows)
        point = {"kp_error": "kp", "leakage": "leak", "garment_ssim": "ssim", "person_psnr": "psnr"}
        return {**vars(way), **{name: found.mean(key) for name, key in point.items()}}


def headline(bench: Bench) -> dict[str, Any]:
    """Every way, under every condition; hard cases apart. Means over pairs as they come, hard ones
    over these and the chosen ones.
    """
    held, out = bench.held, {}
    drawn = torch.arange(len(held)) < held.drawn
    hard = {name.replace(" ", "_"): rows for name, rows in held.hard.items()}
    any_hard = torch.stack(list(hard.values())).any(0)
    real = measure(bench.judge, held.pairs.target, held, range(len(held)))
    for condition in bench.told:
        for name in ("", "_plain") if condition else ("", "_aligned", "_guided", "_plain"):
            found = bench.of(condition, name)
            end = f"{condition}{name}"
            out[f"kp_error{end}"] = found.mean("kp", drawn)
            out[f"leakage{end}"] = found.mean("leak", drawn)
            out[f"garment_ssim{end}"] = found.mean("ssim", drawn)
            out[f"person_psnr{end}"] = found.mean("psnr", drawn)
            out[f"kp_error_hard{end}"] = found.mean("kp", any_hard)
            out[f"leakage_hard{end}"] = found.mean("leak", any_hard)
            for reason, rows in hard.items():
                out[f"kp_error_{reason}{end}"] = found.mean("kp", rows)
    for name, rows in {
        "": drawn,
        "_hard": any_hard,
        **{f"_{k}": v for k, v in hard.items()},
    }.items():
        out[f"kp_error{name}_real"] = real.mean("kp", rows)
        out[f"pairs{name}"] = int(rows.sum())
    out["leakage_real"] = real.mean("leak", drawn)
    out["leakage_hard_real"] = real.mean("leak", any_hard)
    for condition in bench.told:
        ours, plain = bench.of(condition, ""), bench.of(condition, "_plain")
        for name, rows in (("", drawn), ("_hard", any_hard)):
            for figure, key in (("kp", "kp"), ("leakage", "leak")):
                share = reduction(getattr(ours, key)[rows], getattr(plain, key)[rows])
                out[f"{figure}_reduction{name}{condition}"] = [round(x, 4) for x in share]
    return out


def budget(bench: Bench, figures: Mapping[str, Any]) -> dict[str, float]:
    """Few steps with both against many without: figures, and processor seconds per picture."""
    plan, drawn = bench.plan, slice(0, bench.held.drawn)
    many = bench.of("", "_30_plain")
    told = bench.told[""].rows(slice(0, plan.timed))
    ways = {
        "12": plan.ways[""],
        "12_plain": plan.ways["_plain"],
        "30_plain": plan.ways["_30_plain"],
    }
    took = painting.seconds(bench.painter, told, ways, plan.turns)
    return {
        "steps": plan.steps,
        "many_steps": plan.many,
        "kp_error_12": figures["kp_error"],
        "kp_error_30_plain": many.mean("kp", drawn),
        "leakage_30_plain": many.mean("leak", drawn),
        "garment_ssim_30_plain": many.mean("ssim", drawn),
        **{f"time_{name}": round(value, 4) for name, value in took.items()},
        **{k: round(v, 3) for k, v in painting.memory(bench.painter, told).items()},
    }


def curves(bench: Bench) -> dict[str, list[dict[str, float]]]:
    """K without guidance, the guidance's scale behind the default aligner, and steps."""
    plan, ways = bench.plan, bench.plan.ways
    few = {name: [replace(ways[name], steps=n) for n in plan.fewer] for name in ("", "_plain")}
    asked = {
        "iterations": [Way(plan.steps, k) for k in plan.iterations],
        "scale": [replace(ways[""], scale=scale) for scale in plan.scales],
        "steps": [*few[""], ways[""]],
        "steps_plain": [*few["_plain"], ways["_plain"], ways["_30_plain"]],
    }
    return {name: [bench.some(way) for way in some] for name, some in asked.items()}


def guided(report: GuidanceReport) -> dict[str, float]:
    """Which share of guidance's changes was clipped or skipped."""
    count = max(len(report.steps), 1)
    return {
        f"{name}_share": round(sum(getattr(one, name) for one in report.steps) / count, 4)
        for name in ("clipped", "skipped")
    }


def groups(bench: Bench) -> dict[str, dict[str, float]]:
    """Both and plain by groups of people; pairs as they come and chosen ones."""
    ours, plain = bench.of("", ""), bench.of("", "_plain")
    out = {}
    for attribute in ATTRIBUTES:
        values = [person[attribute] for person in bench.held.people]
        for value in sorted(set(values)):
            rows = torch.tensor([one == value for one in values])
            out[f"{attribute.replace('_', ' ')} {value}"] = {
                "pairs": int(rows.sum()),
                "kp_error": ours.mean("kp", rows),
                "kp_error_plain": plain.mean("kp", rows),
                "garment_ssim": ours.mean("ssim", rows),
                "garment_ssim_plain": plain.mean("ssim", rows),
            }
    return out


def run(seed: int, out: Path, pairs: int | None = None, plan: Plan = Plan()) -> dict[str, Any]:
    """Renders, paints, measures; writes `out` (JSON), a table, a sheet of pictures (.jpg), and
    plots (_curves.png, _field.png).

    pairs: how many pairs as they come, for a quick look; a fifth as many of each hard kind is
    sought. Raises FileNotFoundError for weights that are not there yet.
    """
    missing = [f"{path} (made by `{made}`)" for path, made in FILES.items() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"expected the weights that are measured; not there: {'; '.join(missing)}."
        )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    base, aligner, pose, judge = FILES
    count = pairs or PAIRS
    held = pose_pairs(seed, count, max(1, count * SOUGHT // PAIRS))
    painter = painting.load_painter(base, aligner, pose)
    bench = Bench(painter, load_points(judge), held, seed, plan)
    figures = headline(bench)
    figures |= budget(bench, figures)
    poses = valid.held_poses(seed, plan.people if pairs is None else min(plan.people, 4 * pairs))
    field = painter.pose.field
    walk = valid.walk(field, poses, seed)
    figures |= valid.rank(field, poses, seed) | valid.mended(walk)
    figures |= guided(bench.reports["", plan.ways[""]])
    figures |= {"curves": curves(bench), "groups": groups(bench)}
    for name in ("iterations", "scale"):
        figures[f"turning_{name}"] = turning_point(figures["curves"][name], name)
    written = {"seed": seed, "pairs": count, **figures}
    out.write_text(json.dumps(written, indent=1))
    out.with_suffix(".md").write_text(table(written), encoding="utf-8")
    sheet(bench).save(out.with_suffix(".jpg"), quality=88)
    curves_picture(figures, out.with_name(f"{out.stem}_curves.png"))
    field_picture(walk, out.with_name(f"{out.stem}_field.png"))
    return figures
