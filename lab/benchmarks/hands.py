"""`mannequin bench hands`: hands first, then the body, against everything at once.

Held-out people of the synthetic world. Close-ups of hands: stage one paints hand and mask, stage
two the rest of the picture; single-stage paints all of it, by the same base, branch, prompt and
steps. Whole people: the same with both hands in a picture. The points are found by networks that
only measure (`mannequin train hand-detector`).
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...methods.hand_pose import Hand, HandPoses, mirrored
from ...methods.outpaint import Canvas, Growth
from ..people.portrait_shards import write_portraits
from ..people.shards import write_shards
from ..training.hand_detector import MEASURES, PointNet, error_of, load_points, points_of
from ..training.inpaint import HELDOUT_PORTRAITS, HELDOUT_SETS
from ..training.inpaint_data import HANDS, SKIN, grow
from ..training.models import PERSON_WEIGHTS
from ..training.pose_data import PosePool
from .hands_measures import core_psnr, iou, seam_energy
from .hands_painting import HandPainter, load_painter, together
from .sheet import contact_sheet

FOLDER = PERSON_WEIGHTS.parent
FILES = (
    FOLDER / "inpaint" / "mannequin-tiny-inpaint.safetensors",
    FOLDER / "branches" / "mannequin-tiny-pose-branch.safetensors",
    FOLDER / "hands" / "mannequin-tiny-hands.safetensors",
)
JUDGES = (MEASURES / "hand-points.safetensors", MEASURES / "body-points.safetensors")
GROWTH = Growth()
PEOPLE, BATCH, SHOWN, TURNS = 128, 16, 12, 5
REACH = 4  # pixels around bare arms in which a border is a seam


Tones = dict[int, Tensor]


def skin_tones(pool: PosePool) -> Tones:
    """The mean colour, red, green, blue, 0..1, of the hands of each skin tone: what a prompt says
    of the skin, for stage one, which reads no words.
    """
    image, label = pool.take(torch.arange(len(pool)))
    hand = torch.isin(label, torch.tensor(HANDS))
    tone = torch.tensor([facts["skin_tone"] for facts in pool.facts])
    found = {}
    for t in set(tone.tolist()):
        shown = hand & (tone == t)[:, None, None]
        found[t] = image[shown if shown.any() else hand].float().mean(0) / 255
    return found


def close_ups(
    painter: HandPainter, judge: PointNet, pool: PosePool, tones: Tones, count: int, seed: int
) -> dict[str, Tensor]:
    """Everything that is measured on close-ups, and pictures for the sheet, as lists of rows."""
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, count, BATCH):
        which = list(range(start, min(start + BATCH, count)))
        for name, value in _close_ups(painter, judge, pool, tones, which, seed + start).items():
            rows.setdefault(name, []).append(value)
    return {name: torch.cat(parts) for name, parts in rows.items()}


def _close_ups(
    painter: HandPainter,
    judge: PointNet,
    pool: PosePool,
    tones: Tones,
    which: list[int],
    seed: int,
) -> dict[str, Tensor]:
    image, label = pool.take(torch.tensor(which))
    truth = torch.isin(label, torch.tensor(HANDS)).float()
    side = pool.width
    poses = together([_whole(pool.poses(k), pool.hands[k, 0], side) for k in which])
    drawings = torch.stack([pool.drawing(k) for k in which])
    prompts = [pool.prompt(k) for k in which]
    skin = torch.stack([tones[pool.facts[k]["skin_tone"]] for k in which])
    made = painter.hands_of(poses, seed, skin)
    fixed = painter.composed(poses, made, 0.0)
    grown = painter.composed(poses, made, GROWTH.grow)
    pictures = {
        "single": painter.paint(painter.empty(poses), drawings, prompts, seed),
        "fixed": painter.paint(fixed, drawings, prompts, seed),
        "two": painter.paint(grown, drawings, prompts, seed, GROWTH),
    }
    real = image.float() / 255
    hand = 1 - fixed.mask
    arm = torch.stack([grow((one == SKIN).float(), REACH) for one in label])
    points = torch.stack([pool.hands[k, 0] for k in which])
    left = torch.tensor([k % 2 == 0 for k in which])
    margin = GROWTH.border + painter.cell
    return {
        **{f"kp_{name}": kp(judge, x, points, left) for name, x in pictures.items()},
        "kp_real": kp(judge, real, points, left),
        "kp_stage_one": kp(judge, made.pictures, points, left),
        "iou": iou(made.masks, truth),
        **{f"seam_{name}": seam_energy(x, hand, arm) for name, x in pictures.items()},
        "seam_real": seam_energy(real, truth, arm),
        "outline_two": seam_energy(pictures["two"], hand),
        "outline_fixed": seam_energy(pictures["fixed"], hand),
        "core": core_psnr(pictures["two"], fixed.image, hand, margin),
        **pictures,
        "real": real,
        "points": points,
        "stage_one": made.pictures,
        "mask": made.masks.unsqueeze(-1).expand(-1, -1, -1, 3),
        "drawing": drawings,
    }


def _whole(poses: HandPoses, points: Tensor, side: int) -> HandPoses:
    """A close-up's only hand, its window the whole picture."""
    told = torch.cat([points[:, :2], torch.ones(len(points), 1)], 1)
    left = poses.hands[0].left if poses.hands else False
    return HandPoses((Hand(told, left, 0, (0, 0, side)),), side, side)


def kp(judge: PointNet, pictures: Tensor, points: Tensor, left: Tensor) -> Tensor:
    """Mean distance of the seen points, in shares of the close-up, [B]; left hands are mirrored
    for the judge, who knows right ones.
    """
    side = pictures.shape[2]
    turn = left[:, None, None]
    seen = torch.where(turn.unsqueeze(-1), pictures.flip(2), pictures)
    aim = torch.where(turn, mirrored(points, float(side)), points)
    return error_of(points_of(judge, seen), aim, float(side))


def bodies(
    painter: HandPainter, judge: PointNet, pool: PosePool, tones: Tones, count: int, seed: int
) -> dict[str, Tensor]:
    """Point errors of whole people [N], painted with hands first and at once, and pictures."""
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, count, BATCH):
        which = list(range(start, min(start + BATCH, count)))
        poses = together([pool.poses(k) for k in which])
        drawings = torch.stack([pool.drawing(k) for k in which])
        prompts = [pool.prompt(k) for k in which]
        owner = [which[hand.picture] for hand in poses.hands]
        skin = torch.stack([tones[pool.facts[k]["skin_tone"]] for k in owner]) if owner else None
        made = painter.hands_of(poses, seed + start, skin)
        grown = painter.composed(poses, made, GROWTH.grow)
        pictures = {
            "single": painter.paint(painter.empty(poses), drawings, prompts, seed + start),
            "two": painter.paint(grown, drawings, prompts, seed + start, GROWTH),
            "real": pool.take(torch.tensor(which))[0].float() / 255,
        }
        for name, x in pictures.items():
            error = error_of(points_of(judge, x), pool.bodies[which], float(pool.height))
            rows.setdefault(name, []).append(x)
            rows.setdefault(f"kp_{name}", []).append(error)
    return {name: torch.cat(parts) for name, parts in rows.items()}


def cost_ratio(painter: HandPainter, pool: PosePool) -> float:
    """CPU time of both stages over that of one, medians of alternating runs on two close-ups."""
    which = [0, 1]
    poses = together([_whole(pool.poses(k), pool.hands[k, 0], pool.width) for k in which])
    drawings = torch.stack([pool.drawing(k) for k in which])
    prompts, seconds = [pool.prompt(k) for k in which], {True: [], False: []}
    for turn in range(2 * TURNS):
        both = turn % 2 == 0
        started = time.process_time()
        if both:
            canvas: Canvas = painter.composed(poses, painter.hands_of(poses, 0), GROWTH.grow)
        else:
            canvas = painter.empty(poses)
        painter.paint(canvas, drawings, prompts, 0, GROWTH if both else None)
        seconds[both].append(time.process_time() - started)
    return statistics.median(seconds[True][1:]) / statistics.median(seconds[False][1:])


def run(seed: int, out: Path, pairs: int | None = None) -> dict[str, float]:
    """Renders, paints, measures; writes `out` (JSON), a table, sheets, and the close-ups
    (.npz) for `mediapipe_hands`.

    pairs: how many people to measure, for a quick look; default all.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    people = min(pairs or PEOPLE, PEOPLE)
    close, whole = out.parent / "portraits-heldout", out.parent / "people-heldout"
    write_portraits(close, 0, max(people, 1) if pairs else HELDOUT_PORTRAITS, "heldout")
    write_shards(whole, 0, max(people, 1) if pairs else HELDOUT_SETS, "heldout")
    painter = load_painter(*FILES)
    hand_judge, body_judge = (load_points(path) for path in JUDGES)
    hand_pool, body_pool = PosePool("hand", close), PosePool("body", whole)
    tones = skin_tones(hand_pool)
    near = close_ups(painter, hand_judge, hand_pool, tones, people, seed)
    tones = tones | skin_tones(body_pool)
    far = bodies(painter, body_judge, body_pool, tones, people, seed)

    def mean(value: Tensor) -> float:
        return round(float(value.nanmean()), 4)

    figures = {
        "kp_error": mean(near["kp_two"]),
        "kp_error_single": mean(near["kp_single"]),
        "kp_error_stage_one": mean(near["kp_stage_one"]),
        "kp_error_real": mean(near["kp_real"]),
        "mask_iou": mean(near["iou"]),
        "seam_energy": mean(near["seam_two"]),
        "seam_energy_fixed": mean(near["seam_fixed"]),
        "seam_energy_real": mean(near["seam_real"]),
        "outline_energy": mean(near["outline_two"]),
        "outline_energy_fixed": mean(near["outline_fixed"]),
        "core_psnr": mean(near["core"]),
        "body_kp_error": mean(far["kp_two"]),
        "body_kp_error_single": mean(far["kp_single"]),
        "body_kp_error_real": mean(far["kp_real"]),
        "cost_ratio": round(cost_ratio(painter, hand_pool), 4),
    }
    out.write_text(json.dumps({"seed": seed, "people": people, **figures}, indent=1))
    out.with_suffix(".md").write_text(table(figures, people, seed), encoding="utf-8")
    pictures = {k: (near[k] * 255).round().byte().numpy() for k in ("real", "two", "single")}
    np.savez_compressed(out.with_suffix(".npz"), points=near["points"].numpy(), **pictures)
    rows = ("real", "drawing", "stage_one", "mask", "two", "fixed", "single")
    contact_sheet({name: near[name][:SHOWN] for name in rows}).save(
        out.with_suffix(".jpg"), quality=90
    )
    contact_sheet({name: far[name][:SHOWN] for name in ("real", "two", "single")}).save(
        out.with_name(f"{out.stem}_bodies.jpg"), quality=90
    )
    return figures


def table(figures: dict[str, float], people: int, seed: int) -> str:
    """The figures as Markdown, with the command that makes them."""
    lines = [
        "# Hands first, then the body",
        "",
        f"`mannequin bench hands --seed {seed} --out FILE.json`, {people} held-out close-ups and "
        "as many whole people. Errors are mean distances of the seen points in shares of the "
        "close-up's side (of the picture's height for bodies); real: the same judge on the "
        "rendered pictures. Seam "
        "energy: slope across over slope along the mask's border where hand and bare arm meet; "
        "outline energy: along all of it.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in figures.items()),
    ]
    return "\n".join(lines) + "\n"
