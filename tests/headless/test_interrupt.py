"""A real Ctrl-C, sent to a real process while a node works."""

import json
import signal
import subprocess
import sys

import pytest
from PIL import Image

PROGRAM = """
import time
import torch
from mannequin import __main__ as command_line
from mannequin.headless import core_nodes, run, schema
from mannequin.headless.progress import ProgressBar
from mannequin.headless.registry import by_id

class Slow(schema.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.Schema(
            "Slow",
            inputs=[schema.Float.Input("seconds")],
            outputs=[schema.Image.Output()],
        )

    @classmethod
    def execute(cls, seconds):
        bar = ProgressBar(100)
        for _ in range(100):
            print("working", flush=True)
            time.sleep(seconds)
            bar.update(1)
        return schema.NodeOutput(torch.rand(1, 64, 64, 3))

nodes = by_id([Slow, core_nodes.SaveImage])
run.registry = lambda: nodes
command_line.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_stops_at_once_and_leaves_complete_files_only(tmp_path, interruptible):
    workflow = {
        "1": {"class_type": "Slow", "inputs": {"seconds": 0.0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
        "3": {"class_type": "Slow", "inputs": {"seconds": 0.2}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
    }
    (tmp_path / "slow.json").write_text(json.dumps(workflow))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "slow.json", "-o", "pictures"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **interruptible,
    )
    saved = tmp_path / "pictures" / "a_00001_.png"
    for _ in process.stdout:
        if saved.exists():
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert list(saved.parent.iterdir()) == [saved]
    assert Image.open(saved).size == (64, 64)
