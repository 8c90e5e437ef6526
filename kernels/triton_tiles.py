"""What the Triton programs can run on, and with which tiles. Needs no Triton.

The tiles compile without register spills and within the shared memory of their targets; where no
such tiles are known, the call is refused and torch's attention runs. How fast they are on a GPU is
unmeasured.
"""

from dataclasses import dataclass
from typing import Any

import torch

from .registry import Request, unsupported

WIDEST = 128
MOMENTS = 16
RDNA = ("gfx1100", "gfx1201")
CUDA = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""Shared memory per block (KiB) by compute capability."""
AMD = {"gfx942": 64, "gfx1100": 64, "gfx1201": 64}
"""Local memory per workgroup (KiB) of targets with matrix units, by architecture."""


@dataclass(frozen=True)
class Tiles:
    """Queries and keys per tile, warps per program, stages of the pipeline."""

    m: int
    n: int
    warps: int
    stages: int


def target(device: torch.device) -> tuple[str, Any] | None:
    """("cuda", 90) or ("hip", "gfx942") as compiled for; None if it is no such device."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return "hip", properties.gcnArchName.split(":")[0]
    return "cuda", properties.major * 10 + properties.minor


def refuses(request: Request) -> str | None:
    """The reason why the Triton programs cannot run a call on its device, or None."""
    if request.operation == "joint_attention" and len(request.keys) == 1:
        return "one plain source: torch's own is made for that"
    arch = target(request.device)
    if arch is None:
        return f"needs an NVIDIA or AMD GPU, not {request.device.type}"
    return refuses_on(*arch, request)


def refuses_on(kind: str, arch: Any, request: Request) -> str | None:
    """The same for a known device."""
    if kind == "cuda" and arch < 80:
        return f"needs compute capability 8.0 for tensor cores, not {arch / 10}"
    if kind == "hip" and arch not in AMD:
        return f"needs an AMD GPU of {', '.join(AMD)} (with matrix units), not {arch}"
    if request.dtype not in (torch.float16, torch.bfloat16):
        return f"needs fp16 or bf16, not {request.dtype}: no tiles without spills are known for it"
    wide = max(request.widths)
    if wide > WIDEST:
        return f"heads of {wide}: no tiles without spills are known above {WIDEST}"
    if arch in RDNA and wide > 64 and "gradient" in request.extras:
        return f"gradients of heads of {wide}: no tiles without spills are known above 64 on {arch}"
    if "gradient of a table" in request.extras:
        return "has no gradient of moments, strengths or coordinates"
    return unsupported(request, ["more than 16 moments"])


def power(width: int) -> int:
    """The next power of two that a matrix unit can take."""
    return max(16, 1 << (width - 1).bit_length())


def tiles(program: str, kind: str, arch: Any, width: int, lean: bool = False) -> Tiles:
    """For "forward", "backward_queries" or "backward_keys", by the wider of queries and values.

    lean: a forward of whole tiles without masks or strengths per key, which needs fewer registers.
    """
    narrow = power(width) <= 64
    if kind == "interpreter":
        return Tiles(64, 32, 4, 1)
    if kind == "cuda":
        return {
            "forward": Tiles(128 if narrow else 64, 64 if narrow and lean else 32, 8, 2),
            "backward_queries": Tiles(128, 64, 8, 2) if narrow else Tiles(64, 32, 8, 2),
            "backward_keys": Tiles(64, 64, 8, 2) if narrow else Tiles(32, 64, 8, 2),
        }[program]
    if arch in RDNA:
        return {
            "forward": Tiles(64, 32, 8, 1),
            "backward_queries": Tiles(64, 32, 8, 1),
            "backward_keys": Tiles(32, 32, 8, 1),
        }[program]
    return {
        "forward": Tiles(128, 32, 8, 1),
        "backward_queries": Tiles(64, 32, 8, 1),
        "backward_keys": Tiles(32, 64, 8, 1),
    }[program]
