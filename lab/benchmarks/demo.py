"""What `mannequin demo` prints: the example pictures against their ground truth.

Beside the model stand two trivial answers that get the same dense poses: copying, and warping by
the nearest IUV. In try-on, copying leaves the person in the old garment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...methods.flow import resize
from ...methods.flow_record import FlowRecord
from .metrics import flow_epe, garment, nearest_iuv_warp, psnr, ssim

INPUTS = Path(__file__).parents[2] / "workflows" / "inputs"
TOP = 3


class Result(Protocol):
    """What the embedded engine returns: written pictures, and what every node gave."""

    images: list[Path]
    outputs: Mapping[str, tuple[Any, ...]]


def report(results: Mapping[str, Result], inputs: Path = INPUTS) -> str:
    """A table of garment PSNR and SSIM and the flow error; results by workflow name."""
    truth = dict(np.load(inputs / "truth.npz"))
    cases = {"pose_transfer": _pose_transfer, "try_on": _try_on}
    lines = [f"{'garment, against ground truth':<42}{'PSNR':>8}{'SSIM':>8}{'flow error':>12}"]
    for name, case in cases.items():
        if name not in results:
            continue
        target, where, trivial = case(inputs, truth)
        pictures = {
            "mannequin-tiny": _saved(results[name], name),
            "  with flow detail transfer": _saved(results[name], f"{name}_detail"),
            **trivial,
        }
        error = _flow_error(results[name], truth, name)
        for title, picture in pictures.items():
            out, want, mask = picture[None], target[None], where[None]
            flow = f"{error:9.2f} px" if title == "mannequin-tiny" else ""
            lines.append(
                f"{f'{name}: {title}':<42}{psnr(out, want, mask):8.2f}"
                f"{ssim(out, want, mask):8.3f}{flow}"
            )
    return "\n".join(lines)


def _pose_transfer(
    inputs: Path, truth: dict[str, np.ndarray]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    source = _read(inputs / "person_a.png")
    poses = [_read(inputs / f"person_a_{name}_pose.png") for name in ("dense", "target")]
    trivial = {
        "copy the source": source,
        "nearest-IUV warp": nearest_iuv_warp(source, *poses),
    }
    where = garment(torch.from_numpy(truth["pose_transfer_label"]))
    return _read(inputs / "person_a_target.png"), where, trivial


def _try_on(inputs: Path, truth: dict[str, np.ndarray]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    person = _read(inputs / "person_b.png")
    poses = [_read(inputs / f"{name}_dense_pose.png") for name in ("garment_c", "person_b")]
    warped = nearest_iuv_warp(_read(inputs / "garment_c.png"), *poses)
    repaint = torch.from_numpy(truth["try_on_repaint"]).unsqueeze(-1)
    trivial = {
        "keep the old garment": person,
        "nearest-IUV warp": torch.where(repaint, warped, person),
    }
    where = torch.from_numpy(truth["try_on_label"] == TOP)
    return _read(inputs / "person_b_target.png"), where, trivial


def _flow_error(result: Result, truth: dict[str, np.ndarray], name: str) -> float:
    """In pixels, where the reference shows what the target needs (for try-on: the garment)."""
    flow = torch.from_numpy(truth[f"{name}_flow"])
    where = torch.from_numpy(truth[f"{name}_visible"])
    if name == "try_on":
        where = where & torch.from_numpy(truth["try_on_label"] == TOP)
    records = (v for values in result.outputs.values() for v in values)
    record = next(v for v in records if isinstance(v, FlowRecord))
    xy = resize(record.field(), *flow.shape[:2]).xy[:, 0]
    return flow_epe(xy, flow[None], where[None])


def _saved(result: Result, prefix: str) -> Tensor:
    """The picture that a Save Image node of this prefix wrote: prefix_00001_.png."""
    path = next(p for p in result.images if p.name.rsplit("_", 2)[0] == prefix)
    return _read(path)


def _read(path: Path) -> Tensor:
    """[H, W, 3], 0..1"""
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255)
