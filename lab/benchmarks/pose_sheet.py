"""The pose benchmark's pictures, hard cases first."""

from typing import TYPE_CHECKING

import torch
from PIL import Image

from ...methods.pose_maps import BODY, draw
from .sheet import contact_sheet

if TYPE_CHECKING:
    from .pose import Bench

SHOWN = 12


def sheet(bench: "Bench") -> Image.Image:
    """What was told, the truth, and what was painted; below, the same without an arm."""
    held, told = bench.held, bench.told
    hard = torch.stack(list(held.hard.values())).any(0).nonzero()[:, 0].tolist()
    picked = hard[-SHOWN // 2 :]  # the chosen ones come last
    rows = picked + [k for k in range(len(held)) if k not in picked][: SHOWN - len(picked)]
    height, width = held.pairs.label.shape[1:]
    joints = draw(told[""].points[rows], BODY, height, width)
    return contact_sheet(
        {
            "source": held.pairs.source[rows],
            "dense pose": told[""].target_pose[rows],
            "joints": joints,
            "truth": held.pairs.target[rows],
            "plain": bench.painted("", "_plain")[rows],
            "aligned": bench.painted("", "_aligned")[rows],
            "guided": bench.painted("", "_guided")[rows],
            "both": bench.painted("", "")[rows],
            "an arm is lost": told["_armless"].target_pose[rows],
            "plain ": bench.painted("_armless", "_plain")[rows],
            "both ": bench.painted("_armless", "")[rows],
        }
    )
