"""The pose benchmark's plots: what more iterations, guidance and steps do; a broken pose mended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from ...methods.pose_maps import BODY
from .pose_painting import ITERATIONS, SCALE
from .pose_valid import Walk

AXES = {
    "iterations": ("iterations of the aligner, no guidance", ITERATIONS),
    "scale": (f"guidance scale, behind {ITERATIONS} iterations", SCALE),
    "steps": ("denoising steps", None),
}
LINES = {"kp_error": "keypoint error", "leakage": "leakage", "garment_ssim": "garment SSIM"}
COLOURS = ("tab:blue", "tab:red", "tab:green")
PEOPLE = 6


def curves_picture(figures: Mapping[str, Any], out: Path) -> None:
    """Three plots, each figure as a share of its value at the left end; the default is dotted."""
    whole, panels = plt.subplots(1, 3, figsize=(15, 4.4), dpi=100)
    for axes, (name, (title, default)) in zip(panels, AXES.items(), strict=True):
        for points, style in ((name, "o-"), (f"{name}_plain", "s--")):
            for (key, label), colour in zip(LINES.items(), COLOURS, strict=True):
                some = figures["curves"].get(points)
                if some:
                    first = figures["curves"][name][0][key] or 1.0
                    there = f"{label}, plain" if points != name else f"{label} ({first:.3f})"
                    x = [point[name] for point in some]
                    axes.plot(x, [p[key] / first for p in some], style, color=colour, label=there)
        at = figures["steps"] if default is None else default
        axes.axvline(at, linestyle=":", color="grey")
        axes.set_xlabel(title)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("share of the value at the left end (in brackets)")
    whole.tight_layout()
    whole.savefig(out)
    plt.close(whole)


def field_picture(walk: Walk, out: Path) -> None:
    """Means and middle halves along the walk; below, some poses before, on the way and after."""
    whole = plt.figure(figsize=(13, 9), dpi=90)
    grid = whole.add_gridspec(2, PEOPLE, height_ratios=(1, 1.4))
    axes = whole.add_subplot(grid[0, :])
    steps = torch.arange(len(walk.field))
    for name, label in (
        ("field", "the field's distance"),
        ("apart", "distance from the pose that was broken"),
        ("limbs", "error of the limbs' lengths"),
    ):
        value = getattr(walk, name)
        (line,) = axes.plot(steps, value.mean(1), label=label)
        low, high = value.quantile(torch.tensor([0.25, 0.75]), dim=1)
        axes.fill_between(steps, low, high, alpha=0.15, color=line.get_color())
    axes.set_xlabel("gradient steps down the field")
    axes.set_ylabel("torsos")
    axes.set_ylim(bottom=0)
    axes.legend()
    for k in range(min(PEOPLE, walk.poses.shape[1])):
        panel = whole.add_subplot(grid[1, k])
        for pose, colour, label in (
            (walk.valid[k], "0.75", "valid"),
            (walk.poses[0, k], "tab:red", "broken"),
            (walk.poses[-1, k], "tab:blue", "mended"),
        ):
            _skeleton(panel, pose, colour, label)
        panel.invert_yaxis()
        panel.set_aspect("equal")
        panel.set_axis_off()
        if k == 0:
            panel.legend(loc="lower left", fontsize=8)
    whole.tight_layout()
    whole.savefig(out)
    plt.close(whole)


def _skeleton(axes: Any, pose: Tensor, colour: str, label: str) -> None:
    for a, b in BODY.bones:
        if pose[a, 2] > 0 and pose[b, 2] > 0:
            x, y = pose[[a, b], :2].T.tolist()
            axes.plot(x, y, color=colour, linewidth=2, label=label)
            label = "_"
