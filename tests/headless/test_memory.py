"""What a run of the shipped workflows takes in memory, measured on a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from mannequin.lab.training import models

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "weights" / "mannequin-tiny.safetensors"
NAMES = ("pose_transfer", "try_on", "two_references")
LIMIT_KB = 2 * 1024 * 1024
PROGRAM = """
import atexit
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    Path("peak").write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

atexit.register(peak)
from mannequin.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", NAMES)
def test_a_run_stays_below_two_gigabytes(name, tmp_path):
    """Without the shipped weights, random ones of the same size are measured."""
    command = [sys.executable, "-c", PROGRAM, "run", ROOT / "workflows" / "api" / f"{name}.json"]
    if not SHIPPED.exists():
        (tmp_path / "models" / "mannequin").mkdir(parents=True)
        models.build(0, tmp_path / "models" / "mannequin" / "random.safetensors")
        command += ["--set", "Load person model.model_name=random.safetensors"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 3
    peak = int((tmp_path / "peak").read_text())
    assert 50_000 < peak < LIMIT_KB, f"{peak / 1024:.0f} MB"
