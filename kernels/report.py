"""Which backend runs here, and why: for people."""

from collections.abc import Sequence

import torch

from .backends import REGISTRY
from .registry import Request, Verdict

CALLS: dict[str, tuple[str, tuple[int, ...], frozenset[str]]] = {
    "plain attention": ("joint_attention", (4096,), frozenset()),
    "with a reference": ("reference_attention", (4096, 4096), frozenset()),
    "with a reference, weaker or stronger": (
        "reference_attention",
        (4096, 4096),
        frozenset({"strength"}),
    ),
    "with a reference, flow recorded": (
        "reference_attention",
        (4096, 4096),
        frozenset({"moments"}),
    ),
    "text and identity jointly": (
        "joint_attention",
        (77, 16),
        frozenset({"queries of their own"}),
    ),
    "experts mixed per pixel": ("mixture_attention", (77, 16), frozenset()),
    "flow for the Leffa loss": (
        "flow_of_attention",
        (4096,),
        frozenset({"temperature", "gradient"}),
    ),
}
"""Calls that our methods make: operation, keys per source, extras."""


def usual_device() -> torch.device:
    """The accelerator torch sees, otherwise the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def verdicts(device: torch.device, dtype: torch.dtype, width: int) -> dict[str, list[Verdict]]:
    """Every backend's answer to each of `CALLS`, with 4096 queries in heads of that width."""
    return {
        name: REGISTRY.verdicts(
            Request(operation, device, dtype, (width, width), 4096, keys, extras)
        )
        for name, (operation, keys, extras) in CALLS.items()
    }


def text(device: torch.device, dtype: torch.dtype, width: int = 40) -> str:
    """The answers as lines: what runs in front, the others with their reasons below."""
    lines = [f"{device}, {str(dtype).removeprefix('torch.')}, heads of {width}"]
    for name, answers in verdicts(device, dtype, width).items():
        lines += ["", *_call(name, answers)]
    lines += ["", "How fast the backends are on a GPU is unmeasured."]
    return "\n".join(lines)


def _call(name: str, answers: Sequence[Verdict]) -> list[str]:
    runs = next(v for v in answers if v.runs)
    lines = [f"{name}: {runs.backend} ({runs.what})"]
    return lines + [f"    {v.backend}: {v.reason}" for v in answers if not v.runs]
