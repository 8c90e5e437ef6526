"""`mannequin bench face`: is it still the same person?

Held-out people of the synthetic world; the judge is a face network that no other training saw. The
whole face of picture 0 is painted; pictures 1 to 5 are the references, the same for everybody.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...methods.personalize import TEMPLATE, WORDLESS, Personalization, Tuning
from ..people.portrait_shards import write_portraits
from ..training.attributes import load_reader
from ..training.inpaint import HELDOUT_PORTRAITS
from ..training.models import PERSON_WEIGHTS
from ..training.pva_tiny import load_face_net
from .face_edits import edits
from .face_painting import Painter, People, full_tuning, likeness, load_painter, people_of
from .face_plots import plot, table
from .sheet import contact_sheet

FOLDER = PERSON_WEIGHTS.parent
FILES = (
    FOLDER / "inpaint" / "mannequin-tiny-inpaint.safetensors",
    FOLDER / "adapters" / "mannequin-tiny-pva.safetensors",
    FOLDER / "faces" / "mannequin-tiny-face.safetensors",
)
MEASURES = Path(__file__).parent / "weights"
JUDGE, READER = MEASURES / "face-judge.safetensors", MEASURES / "face-attributes.safetensors"
TUNED_PEOPLE, SEEDS, BATCH, SHOWN = 6, 4, 16, 10
OURS, THEIRS = (0, 5, 10, 20, 40, 80), (0, 50, 100, 200, 400, 800)
STEPS, FULL_STEPS = 40, 800
FULL = Tuning(FULL_STEPS, rate=3e-4, word_rate=1e-3)
GROUPS = ("skin_tone", "gender", "age")
REFERENCES = slice(1, None)


@dataclass
class Setting:
    """Everything that the parts of the benchmark share."""

    painter: Painter
    people: People
    judge: nn.Module
    seed: int

    def likeness(self, painted: Tensor, rows: Sequence[int]) -> Tensor:
        return likeness(self.judge, painted, self.people, rows)

    def references(self, person: int) -> Any:
        """The face embedding of a person's references."""
        people = self.people
        return self.painter.embedding(
            people.pictures[person, REFERENCES], people.faces[person, REFERENCES]
        )


def everybody(s: Setting, paint: Callable[[list[int]], Tensor]) -> tuple[Tensor, Tensor]:
    """Paints every person's picture 0 in batches; returns the pictures and their likeness."""
    painted, scores = [], []
    for start in range(0, len(s.people), BATCH):
        rows = list(range(start, min(start + BATCH, len(s.people))))
        painted.append(paint(rows))
        scores.append(s.likeness(painted[-1], rows))
    return torch.cat(painted), torch.cat(scores)


def by_words(s: Setting, rows: list[int], told: bool = True) -> Tensor:
    """Plain inpainting, told everything that a caption can say, or no more than PVA's words are."""
    prompts = [s.people.captions[p][0] if told else WORDLESS for p in rows]
    pictures, region = s.people.pictures[rows, 0], s.people.region(rows)
    return s.painter.paint(pictures, region, prompts, s.seed)


def by_references(s: Setting, rows: list[int]) -> Tensor:
    """PVA without tuning, told nothing but to look."""
    pictures, region = s.people.pictures[rows, 0], s.people.region(rows)
    pva = s.painter.pva([s.references(p).vectors for p in rows])
    return s.painter.paint(pictures, region, [TEMPLATE] * len(rows), s.seed, pva)


def again(s: Setting, person: int) -> tuple[Tensor, Tensor, list[int]]:
    """A tuned person's picture 0 and region, SEEDS times, as one batch; whose they are."""
    rows = [person] * SEEDS
    return s.people.pictures[rows, 0], s.people.region(rows), rows


def tuned(s: Setting, person: int) -> tuple[dict[int, float], float, Tensor]:
    """PVA's likeness after so many steps, the seconds of STEPS steps, and what is then painted."""
    faces, (picture, region, rows) = s.references(person), again(s, person)
    curve, seconds, shown = {}, 0.0, picture
    with s.painter.lent() as base:
        advised = s.painter.adapter.config.get("tuning", {})
        tuning = Tuning(max(OURS), seed=s.seed, **advised)
        work = Personalization(s.painter.adapter, faces, base, tuning)
        for steps in OURS:
            started = time.perf_counter()
            while work.done < steps:
                work.step()
            seconds += (time.perf_counter() - started) * (steps <= STEPS)
            adapter = work.result()
            pva = s.painter.pva([adapter.vectors], adapter)
            painted = s.painter.paint(
                picture, region, [TEMPLATE] * SEEDS, s.seed, pva, word=adapter.word
            )
            curve[steps] = float(s.likeness(painted, rows).mean())
            shown = painted if steps == STEPS else shown
    return curve, seconds, shown[:1]


def tuned_fully(s: Setting, person: int) -> tuple[dict[int, float], float, Tensor]:
    """The same of the baseline; seconds of FULL_STEPS steps."""
    faces, (picture, region, rows) = s.references(person), again(s, person)
    curve, seconds, painted = {}, 0.0, picture
    with full_tuning(s.painter, faces, replace(FULL, seed=s.seed)) as work:
        for steps in THEIRS:
            started = time.perf_counter()
            while work.done < steps:
                work.step()
            seconds += time.perf_counter() - started
            painted = s.painter.paint(
                picture, region, [TEMPLATE] * SEEDS, s.seed, model=work.model, word=work.word
            )
            curve[steps] = float(s.likeness(painted, rows).mean())
    return curve, seconds, painted[:1]


def mean_curve(curves: Sequence[dict[int, float]]) -> dict[int, float]:
    return {step: statistics.fmean(c[step] for c in curves) for step in curves[0]}


def by_group(s: Setting, scores: Tensor) -> dict[str, tuple[int, float]]:
    """Size and mean likeness of every group of people."""
    out = {}
    for key in GROUPS:
        values = [facts[0][key] for facts in s.people.facts]
        for value in sorted(set(values)):
            rows = torch.tensor([v == value for v in values])
            name = f"{key.replace('_', ' ')} {value}"
            out[name] = (int(rows.sum()), float(scores[rows].mean()))
    return out


def step_overhead(s: Setting) -> float:
    """CPU time of painting with the branch over that without, minus 1; medians of alternating
    runs.
    """
    rows = [0, 1]
    pictures, region = s.people.pictures[rows, 0], s.people.region(rows)
    pva = s.painter.pva([s.references(p).vectors for p in rows])
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(14):
        methods = (pva,) if turn % 2 else ()
        started = time.process_time()
        s.painter.paint(pictures, region, [TEMPLATE] * 2, 0, *methods)
        if turn > 1:
            seconds[bool(methods)].append(time.process_time() - started)
    return statistics.median(seconds[True]) / statistics.median(seconds[False]) - 1


def run(seed: int, out: Path, pairs: int | None = None) -> dict[str, float]:
    """Renders, paints, tunes, measures; writes `out` (JSON), a table, a curve and a sheet.

    pairs: how many people to measure, for a quick look; default all.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / "portraits-heldout"
    write_portraits(folder, 0, HELDOUT_PORTRAITS, "heldout", processes=2)
    people = people_of(folder, pairs)
    s = Setting(load_painter(*FILES), people, load_face_net(JUDGE), seed)
    whole = list(range(len(people)))
    words, id_words = everybody(s, lambda rows: by_words(s, rows))
    _, id_wordless = everybody(s, lambda rows: by_words(s, rows, told=False))
    looked, id_looked = everybody(s, lambda rows: by_references(s, rows))
    real = s.likeness(people.pictures[:, 0], whole)
    strangers = s.likeness(people.pictures[:, 0], [*whole[1:], 0])
    some = whole[:: max(1, len(whole) // TUNED_PEOPLE)][:TUNED_PEOPLE]
    ours, theirs = ([tune(s, p) for p in some] for tune in (tuned, tuned_fully))
    our_curve, their_curve = (mean_curve([c for c, *_ in runs]) for runs in (ours, theirs))
    our_time, their_time = (statistics.fmean(t for _, t, _ in runs) for runs in (ours, theirs))
    groups = by_group(s, id_looked)
    figures = {
        "id_base": float(id_words.mean()),
        "id_base_wordless": float(id_wordless.mean()),
        "id_pva": float(id_looked.mean()),
        "id_pva40": our_curve[STEPS],
        "id_pva_same_people": our_curve[0],
        "id_full800": their_curve[FULL_STEPS],
        "id_real": float(real.mean()),
        "id_strangers": float(strangers.mean()),
        "steps_ratio": STEPS / FULL_STEPS,
        "time_ratio": our_time / their_time,
        "personalize_seconds": our_time,
        "full_seconds": their_time,
        "worst_group_id": min(score for _, score in groups.values()),
        "best_group_id": max(score for _, score in groups.values()),
        "step_overhead": step_overhead(s),
    }
    edited, edit_rows, pictures = edits(s.painter, people, load_reader(READER), s.likeness, seed)
    figures |= edited
    figures = {name: round(value, 4) for name, value in figures.items()}
    written = {
        "seed": seed,
        "people": len(people),
        "tuned_people": len(some),
        **figures,
        "curve_pva": our_curve,
        "curve_full": their_curve,
        "groups": groups,
        "edits": edit_rows,
    }
    out.write_text(json.dumps(written, indent=1))
    out.with_suffix(".md").write_text(table(written), encoding="utf-8")
    plot(our_curve, their_curve, figures, out.with_name(f"{out.stem}_curve.png"))
    rows = {
        "picture": people.pictures[some, 0],
        "a reference": people.pictures[some, 1],
        "words alone": words[some],
        "PVA": looked[some],
        f"PVA, {STEPS} steps": torch.cat([p for *_, p in ours]),
        f"all, {FULL_STEPS} steps": torch.cat([p for *_, p in theirs]),
    }
    contact_sheet(rows).save(out.with_suffix(".jpg"), quality=90)
    contact_sheet({k: v[:SHOWN] for k, v in pictures.items()}).save(
        out.with_name(f"{out.stem}_edits.jpg"), quality=90
    )
    return figures
