"""Gradient guidance towards a pose: the sampling's own prediction is pulled (arXiv 2310.16074).

Known from the abstract: the gradient of a pose interaction field corrects the sampling trajectory.
The formula, the schedule, the target's own term and the measure of a step are our design where the
paper is silent.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .pose_field import PoseField
from .site import Method, Step

SURE = 0.15  # confidence from which the field judges a point that the head has found
GAIN = 16.0  # so that scale 1 is the best of mannequin-tiny, and 4 over-corrects


@dataclass(frozen=True)
class Guided:
    """What guidance did to one picture in one step.

    energy: what was descended. keypoint_error: mean distance of the counted points from the
    target, in picture heights, before the step; NaN where none counts. field: distance from valid
    poses, in torsos. slope: size of the gradient (root mean square). change: of x0, in its own
    standard deviations (root mean square). clipped: whether it was cut to the largest change
    allowed. skipped: whether the picture was left alone because something was not finite.
    """

    index: int
    sigma: float
    picture: int
    energy: float
    keypoint_error: float
    field: float
    slope: float
    change: float
    clipped: bool
    skipped: bool


@dataclass
class GuidanceReport:
    """steps: what was done, in order of steps and pictures; emptied when a run begins."""

    steps: list[Guided] = field(default_factory=list)
    told: Callable[[GuidanceReport], None] | None = None

    def begin(self) -> None:
        self.steps.clear()

    def add(self, done: list[Guided]) -> None:
        self.steps += done
        if self.told is not None:
            self.told(self)

    def text(self) -> str:
        """A line for each step (means over pictures), and what was clipped or skipped."""
        if not self.steps:
            return "Pose Guidance has not acted: sample first, or widen start and end."
        lines = ["step   sigma   points off   field   change"]
        for index in sorted({one.index for one in self.steps}):
            own = [one for one in self.steps if one.index == index]
            off, far, change = (
                _mean([getattr(one, name) for one in own if not one.skipped])
                for name in ("keypoint_error", "field", "change")
            )
            marks = [name for name in ("clipped", "skipped") if any(getattr(o, name) for o in own)]
            line = f"{index + 1:4d} {own[0].sigma:7.2f} {_percent(off):>12} {_number(far):>7}"
            lines.append(f"{line} {_number(change):>8} {' '.join(marks)}".rstrip())
        clipped, skipped = (
            sum(getattr(o, name) for o in self.steps) for name in ("clipped", "skipped")
        )
        if clipped:
            lines.append(f"{clipped} of {len(self.steps)} changes were clipped: lower the scale.")
        if skipped:
            lines.append(
                f"{skipped} of {len(self.steps)} were skipped because a number was not finite; the "
                "pictures there are as without guidance."
            )
        return "\n".join(lines)


class PoseGuidance(Method):
    """x0' = x0 - GAIN * scale * w(sigma) * sqrt(E) * std(x0) * g, of every picture its own, with

        E = field_weight * field(pose(x0)) + keypoint_weight * mean_j |pose_j(x0) - t_j|^2 / H^2
        g = grad E / its root mean square;  w(sigma) = sigma^2 / (1 + sigma^2)

    (the mean over the target's points weighted by their confidence, H the picture's height), so
    that the change fades as the pose arrives and as the noise goes, and `scale` means the same for
    every picture and model. No graph reaches the denoiser: only the head and the field are
    differentiated. Works inside torch.inference_mode.

    head: latents [B, C, h, w] -> points [B, 18, 3] in pixels of the picture and confidence, with
    `downscale`, pixels along a latent cell's side. judge: the field; None for none. target:
    [P, 18, 3] in pixels of the picture that is sampled, confidence 0 for points that do not count;
    each of P pictures stands equally often in the batch, in their order. Points outside the
    picture do not count. None: only the field. scale: >= 0; 0 is as if it were not there.
    start, end: the part of the run, 0..1, in which it acts. most: largest change of x0 in one step,
    root mean square in standard deviations of x0. repeats: gradient steps per denoising step, which
    share that bound. Raises ValueError for values outside their ranges.
    """

    def __init__(
        self,
        head: nn.Module,
        judge: PoseField | None,
        target: Tensor | None,
        scale: float = 1.0,
        field_weight: float = 0.01,
        keypoint_weight: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        most: float = 0.5,
        repeats: int = 1,
        report: GuidanceReport | None = None,
    ) -> None:
        low = {"scale": scale, "field_weight": field_weight, "keypoint_weight": keypoint_weight}
        for name, value in low.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"Pose guidance's {name} must be >= 0 and finite, got {value}.")
        if start > end:
            raise ValueError(f"Pose guidance's start ({start}) must not lie after its end ({end}).")
        if most <= 0 or repeats < 1:
            raise ValueError(
                f"Pose guidance's largest change must be > 0 and its repeats >= 1; got {most} and "
                f"{repeats}."
            )
        if target is not None and target.shape[1:] != (18, 3):
            raise ValueError(
                "Expected the target as [pictures, 18, 3] (OpenPose's 18 points); got "
                f"{list(target.shape)}."
            )
        self.head, self.judge, self.target, self.scale = head, judge, target, scale
        self.field_weight = field_weight if judge is not None else 0.0
        self.keypoint_weight = keypoint_weight if target is not None else 0.0
        self.start, self.end_at, self.most, self.repeats = start, end, most, repeats
        self.report = report
        self._there: dict[torch.device, tuple[nn.Module, PoseField | None]] = {}

    def begin(self) -> None:
        if self.report is not None:
            self.report.begin()

    def end(self) -> None:
        self._there = {}

    def active(self, step: Step) -> bool:
        pulls = self.scale > 0 and (self.field_weight > 0 or self.keypoint_weight > 0)
        return pulls and self.start <= step.progress <= self.end_at

    def denoised(self, x0: Tensor, step: Step) -> Tensor:
        """x0 [B, C, h, w] after guidance; rows of the negative prompt, where they can be told, and
        rows where something is not finite stay as they are, bit by bit.
        """
        own = step.conditional if len(step.conditional) == len(x0) else (True,) * len(x0)
        with torch.inference_mode(False), torch.enable_grad():
            clean = x0.detach().clone()
            moved, done = self._pull(clean.float(), step)
        rows = torch.tensor(
            [mine and not one.skipped for mine, one in zip(own, done, strict=True)],
            device=x0.device,
        )
        if self.report is not None:
            self.report.add([one for mine, one in zip(own, done, strict=True) if mine])
        return torch.where(rows[:, None, None, None], moved.to(x0.dtype), x0)

    def _pull(self, x0: Tensor, step: Step) -> tuple[Tensor, list[Guided]]:
        """`repeats` gradient steps, and what each picture's record is."""
        head, judge = self._networks(x0.device)
        target = self._target(x0, head.downscale)
        flat = x0.flatten(1)
        spread = flat.std(1).nan_to_num(0.0, 0.0, 0.0)
        bound = self.most * spread
        length = GAIN * self.scale * weight(step.sigma) / self.repeats * spread
        z, clipped, first = x0, torch.zeros(len(x0), dtype=torch.bool, device=x0.device), None
        good = flat.isfinite().all(1)
        z = torch.where(good[:, None, None, None], z, 0.0)
        for _ in range(self.repeats):
            told, slope = self._descend(z, head, judge, target)
            first = first or told
            size = slope.flatten(1).square().mean(1).sqrt()
            energy = told["energy"].clamp_min(0).sqrt()
            fine = slope.flatten(1).isfinite().all(1) & energy.isfinite()
            good &= fine
            step_size = length * energy / size.clamp_min(1e-20)
            step_size = torch.where(fine & (size > 1e-12), step_size, 0.0)
            slope = torch.where(fine[:, None, None, None], slope, 0.0)
            z = z - step_size[:, None, None, None] * slope
            change = (z - x0).flatten(1).square().mean(1).sqrt()
            far = good & (change > bound)
            shorten = torch.where(far, bound / change.clamp_min(1e-20), 1.0)
            z = torch.where(
                far[:, None, None, None], x0 + (z - x0) * shorten[:, None, None, None], z
            )
            clipped |= far
        good &= z.flatten(1).isfinite().all(1)
        change = (z - x0).flatten(1).square().mean(1).sqrt() / spread.clamp_min(1e-20)
        table = {
            **{name: first[name] for name in ("energy", "keypoint_error", "field")},
            "slope": first["slope"],
            "change": change,
            "clipped": clipped,
            "skipped": ~good,
        }
        columns = {name: column.detach().tolist() for name, column in table.items()}
        done = [
            Guided(
                step.index, step.sigma, k, **{name: column[k] for name, column in columns.items()}
            )
            for k in range(len(x0))
        ]
        done = [replace(one, change=0.0, clipped=False) if one.skipped else one for one in done]
        return z.detach(), done

    def _descend(
        self, z: Tensor, head: nn.Module, judge: PoseField | None, target: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What the pictures' poses are worth, each [B], and the gradient of the energy."""
        z = z.detach().requires_grad_(True)
        points = head(z)
        height = z.shape[-2] * head.downscale
        zero = points.new_zeros(len(points))
        energy, off, far = points[:, 0, 0] * 0, zero + math.nan, zero
        if judge is not None:
            sure = (points[..., 2:] > SURE).to(points)
            far = judge.distance(torch.cat([points[..., :2], sure], -1))
            energy = energy + self.field_weight * far
        if target is not None:
            counts = target[..., 2]
            away = (points[..., :2] - target[..., :2]) / height
            each = counts * away.square().sum(-1)
            energy = energy + self.keypoint_weight * each.sum(1) / counts.sum(1).clamp_min(1e-6)
            some = (counts > 0).float()
            off = (away.detach().norm(dim=-1) * some).sum(1) / some.sum(1)
        (slope,) = torch.autograd.grad(energy.sum(), z)
        told = {"energy": energy, "keypoint_error": off, "field": far}
        told["slope"] = slope.flatten(1).square().mean(1).sqrt()
        return {name: column.detach() for name, column in told.items()}, slope

    def _target(self, x0: Tensor, downscale: int) -> Tensor | None:
        """[B, 18, 3]; what lies outside the picture does not count."""
        if self.target is None or self.keypoint_weight == 0:
            return None
        if len(x0) % len(self.target):
            raise ValueError(
                f"Expected the batch to hold each of {len(self.target)} target pose(s) equally "
                f"often; got {len(x0)} pictures. Give one pose for all, or one for each picture."
            )
        target = self.target.clone().to(x0)
        size = target.new_tensor([x0.shape[-1], x0.shape[-2]]) * downscale
        inside = ((target[..., :2] >= 0) & (target[..., :2] < size)).all(-1)
        inside &= target.isfinite().all(-1) & (target[..., 2] > 0)
        target = torch.where(inside.unsqueeze(-1), target, 0.0)
        return target.repeat(len(x0) // len(target), 1, 1)

    def _networks(self, device: torch.device) -> tuple[nn.Module, PoseField | None]:
        """Head and field on the device of the latents; copies, so that what is kept stays."""
        if device not in self._there:
            pair = (self.head, self.judge)
            if device.type != "cpu":
                pair = tuple(None if net is None else copy.deepcopy(net).to(device) for net in pair)
            self._there = {device: pair}
        return self._there[device]


def weight(sigma: float) -> float:
    """w(sigma), 0..1: the noise's share of the latent's variance."""
    return 1.0 if math.isinf(sigma) else sigma * sigma / (1 + sigma * sigma)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}% of H"
