"""`mannequin train pose-field`: how far a pose is from those that people take.

As Pose-NDF (arXiv 2207.13807): broken poses at several scales, whose distance to the nearest valid
pose is learned with L1; zero on valid poses; and an eikonal term. No picture is rendered.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...methods.pose_field import BONES, TRUNK, PoseField
from .loop import Schedule, Trainer
from .pose_field_data import broken, lose_points, nearest, shard_poses, valid_poses
from .pose_head_random import pose_config

SEED, STEPS, BATCH, RATE = 8, 4000, 192, 2e-3
PEOPLE, BROKEN = 800, 32768
EIKONAL, FAR = 0.02, 0.1  # weight; torsos from which the slope is asked for
SCALES = (0.05, 0.1, 0.2, 0.4, 0.8)
LOWEST, HIGHEST = 0.03, 1.2  # scales of the broken poses, drawn evenly in the logarithm
FILE = "pose-field.safetensors"


def prepare(work: Path, people: int = PEOPLE, count: int = BROKEN) -> dict[str, Tensor]:
    """valid [N, 18, 3]; broken [count, 18, 3] and their distances far [count], in torsos; usual
    [17], lengths of the bones. Made once, kept in `work`.
    """
    path = work / "pose-field-data.safetensors"
    if not path.exists():
        g = torch.Generator().manual_seed(SEED)
        valid = torch.cat([valid_poses(0, people, "train"), shard_poses(work / "train")])
        usual = usual_lengths(valid)
        field = PoseField()
        field.usual.copy_(usual)
        which = torch.randint(len(valid), (count,), generator=g)
        scale = LOWEST * (HIGHEST / LOWEST) ** torch.rand(count, generator=g)
        bad = lose_points(broken(valid[which], scale, g), g)
        vectors, known, _ = field.vectors(bad)
        far = nearest(vectors, known, field.vectors(valid)[0])
        partial = path.with_suffix(".partial")
        stored = {"valid": valid, "broken": bad, "far": far, "usual": usual}
        save_file({name: t.contiguous() for name, t in stored.items()}, partial)
        partial.replace(path)
    return load_file(path)


def usual_lengths(points: Tensor) -> Tensor:
    """Mean lengths [17] of the bones of whole poses, in mean lengths from the neck to a hip."""
    starts, ends = ([bone[end] for bone in BONES] for end in (0, 1))
    length = (points[:, ends, :2] - points[:, starts, :2]).norm(dim=-1)
    return (length / length[:, TRUNK[2:]].mean(1, keepdim=True)).mean(0)


class FieldLoss:
    """L1 on broken poses, the field itself on valid ones, and (|slope| - 1)^2 far from them."""

    def __init__(self, field: PoseField, data: dict[str, Tensor]) -> None:
        self.field, self.data = field, data

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        data = self.data
        good = torch.randint(len(data["valid"]), (BATCH,), generator=g)
        bad = torch.randint(len(data["broken"]), (BATCH,), generator=g)
        points = torch.cat([lose_points(data["valid"][good], g), data["broken"][bad]])
        vectors, known, _ = self.field.vectors(points)
        vectors.requires_grad_(True)
        out = self.field(vectors, known)
        truth = data["far"][bad]
        terms = {"valid": out[:BATCH].mean(), "broken": (out[BATCH:] - truth).abs().mean()}
        (slope,) = torch.autograd.grad(out.sum(), vectors, create_graph=True)
        steep = slope.flatten(1).norm(dim=1) * known.sum(1).sqrt()
        there = torch.cat([torch.zeros(BATCH), (truth > FAR).float()])
        terms["eikonal"] = ((steep - 1).square() * there).sum() / there.sum().clamp_min(1)
        total = terms["valid"] + terms["broken"] + EIKONAL * terms["eikonal"]
        return {"total": total, **{name: term.detach() for name, term in terms.items()}}


def auc(low: Tensor, high: Tensor) -> float:
    """Share of pairs in which `high` [M] is above `low` [N], ties counting half: 1 is perfect."""
    below = torch.searchsorted(low.sort().values, high, right=False).double().sum()
    above = torch.searchsorted(low.sort().values, high, right=True).double().sum()
    return float((below + above) / 2 / len(low) / len(high))


def seen_only(points: Tensor, height: float = 128.0, width: float = 96.0) -> Tensor:
    """Poses whose points outside the picture are not known."""
    at = points[..., :2]
    inside = ((at >= 0) & (at < at.new_tensor([width, height]))).all(-1, keepdim=True)
    return torch.cat([at, points[..., 2:] * inside], -1)


@torch.no_grad()
def evaluate(field: PoseField, valid: Tensor, seed: int = SEED) -> dict[str, float]:
    """Of valid poses [N, 18, 3] that training has not seen: their mean distance, the area under
    the curve against the same poses broken at each of SCALES, and how far mended ones still are.
    """
    g = torch.Generator().manual_seed(seed)
    low = field.distance(seen_only(valid))
    found = {"valid": float(low.mean()), "valid_95": float(low.quantile(0.95))}
    for scale in SCALES:
        bad = seen_only(broken(valid, torch.full((len(valid),), scale), g))
        high = field.distance(bad)
        found[f"auc_{scale}"], found[f"far_{scale}"] = auc(low, high), float(high.mean())
        found[f"mended_{scale}"] = float(field.distance(field.mend(bad)[-1]).mean())
    return {name: round(value, 4) for name, value in found.items()}


def load_field(path: Path) -> tuple[PoseField, dict[str, int]]:
    """The averaged field of a checkpoint of `run`, and its steps and seconds. Raises ValueError
    when there is none.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Run `mannequin train pose-field` first.")
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("ema.field.")]  # noqa: SIM118
        state = {name[len("ema.field.") :]: file.get_tensor(name) for name in names}
        facts = file.metadata()
    field = PoseField(**pose_config()["field"])
    field.load_state_dict(state)
    told = {"steps": int(facts["step"]), "seconds": round(float(facts["seconds"]))}
    return field.requires_grad_(False).train(False), told


def run(work: Path, steps: int, people: int = PEOPLE, count: int = BROKEN) -> PoseField:
    """Trains the field on what `work` holds, or goes on; prints what is held out."""
    data = prepare(work, people, count)
    torch.manual_seed(SEED)
    field = PoseField(**pose_config()["field"])
    field.usual.copy_(data["usual"])
    schedule = Schedule(steps, rate=RATE, decay=0.5)
    trainer = Trainer({"field": field}, schedule, work / FILE, SEED, every=60)
    trainer.run(FieldLoss(field, data))
    field, _ = load_field(work / FILE)
    if (work / "heldout").exists():
        found = evaluate(field, shard_poses(work / "heldout"))
        print(json.dumps({"heldout": found}), flush=True)
    return field


def main(arguments: list[str]) -> None:
    """Trains in a working folder that holds rendered people (`train`, and `heldout` to measure).

    `mannequin train pose-head` puts the result into the file that ships.
    """
    parser = argparse.ArgumentParser("mannequin train pose-field", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--people", type=int, default=PEOPLE, help="people whose poses are drawn")
    options = parser.parse_args(arguments)
    run(options.work, options.steps, options.people)
