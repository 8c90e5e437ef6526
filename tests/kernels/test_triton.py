"""The Triton programs without a GPU: in the interpreter, each time in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mannequin.kernels.registry import Request
from mannequin.kernels.triton_tiles import refuses_on

pytest.importorskip("triton")
HERE = Path(__file__).parent


def interpret(*options: str, examples: int) -> None:
    env = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TRITON_INTERPRET"), "1"),
        "EXAMPLES": str(examples),
    }
    command = [sys.executable, "-m", "pytest", "-q", HERE / "triton_interpreted.py", *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_interpreted():
    interpret("-k", "fails or many or equals or (torchs and (8 or 40 or 160))", examples=3)


@pytest.mark.slow
def test_interpreted_widely():
    interpret(examples=60)


def request(dtype=torch.float16, widths=(40, 40), extras=()) -> Request:
    device = torch.device("cuda")
    return Request("joint_attention", device, dtype, widths, 64, (64,), frozenset(extras))


@pytest.mark.parametrize("kind, arch", [("cuda", 80), ("cuda", 90), ("hip", "gfx942")])
def test_runs_where_there_are_matrix_units(kind, arch):
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for width in (8, 40, 160):
            asked = request(dtype, (width, width), ("mask", "gradient", "moments", "strength"))
            assert refuses_on(kind, arch, asked) is None


@pytest.mark.parametrize(
    "kind, arch, asked, reason",
    [
        ("cuda", 75, request(), "compute capability 8.0"),
        ("hip", "gfx1030", request(), "matrix units"),
        ("hip", "gfx1100", request(torch.float32), "no matrix unit for fp32"),
        ("cuda", 90, request(torch.float64), "fp64|float64"),
        ("cuda", 90, request(widths=(192, 192)), "1 to 160"),
        ("cuda", 90, request(extras=["gradient of a table"]), "no gradient of moments"),
    ],
)
def test_says_why_not(kind, arch, asked, reason):
    assert re.search(reason, refuses_on(kind, arch, asked))
