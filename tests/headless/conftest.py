"""A small registry of nodes that count their calls, and a workflow made of them."""

import signal
import sys

import pytest
import torch
from typer.testing import CliRunner

from mannequin.headless import core_nodes, sampling_nodes, schema
from mannequin.headless.engine import Engine
from mannequin.headless.progress import ProgressBar
from mannequin.headless.registry import by_id


class Paint(schema.ComfyNode):
    """A picture of one grey."""

    calls = 0
    steps_before_interrupt = None

    @classmethod
    def define_schema(cls):
        return schema.Schema(
            node_id="Paint",
            display_name="Paint Grey",
            inputs=[
                schema.Int.Input("seed", default=0, min=0, max=255),
                schema.Float.Input("gain", default=1.0, min=0.0, max=2.0),
                schema.Boolean.Input("invert", default=False),
                schema.Combo.Input("size", options=["small", "large"]),
                schema.String.Input("note", optional=True),
            ],
            outputs=[schema.Image.Output(display_name="IMAGE"), schema.Mask.Output()],
        )

    @classmethod
    def execute(cls, seed, gain, invert, size, note=""):
        Paint.calls += 1
        bar = ProgressBar(3)
        for step in range(3):
            if step == Paint.steps_before_interrupt:
                raise KeyboardInterrupt
            bar.update(1)
        edge = 8 if size == "small" else 16
        image = torch.full((1, edge, edge, 3), min(seed * gain / 255, 1.0))
        return schema.NodeOutput(1 - image if invert else image, image[..., 0])


class Join(schema.ComfyNode):
    """Two pictures into one batch; fails when they differ in size."""

    calls = 0

    @classmethod
    def define_schema(cls):
        return schema.Schema(
            node_id="Join",
            inputs=[schema.Image.Input("a"), schema.Image.Input("b", optional=True)],
            outputs=[schema.Image.Output("image")],
        )

    @classmethod
    def execute(cls, a, b=None):
        Join.calls += 1
        if b is not None and a.shape != b.shape:
            raise ValueError(f"expected two pictures of one size, came {a.shape} and {b.shape}")
        return schema.NodeOutput(a if b is None else torch.cat([a, b]))


@pytest.fixture
def nodes():
    """The registry: stubs, and the core nodes that need no model."""
    Paint.calls = Join.calls = 0
    Paint.steps_before_interrupt = None
    core = [c for c in core_nodes.CORE_NODES if c not in sampling_nodes.SAMPLING_NODES]
    return by_id([Paint, Join, *core])


@pytest.fixture
def engine(nodes):
    return Engine(nodes)


@pytest.fixture
def prompt():
    """Two greys joined and saved, one preview."""
    paint = {"seed": 100, "gain": 1.0, "invert": False, "size": "small"}
    return {
        "1": {"class_type": "Paint", "inputs": dict(paint), "_meta": {"title": "Dark grey"}},
        "2": {
            "class_type": "Paint",
            "inputs": {**paint, "seed": 200},
            "_meta": {"title": "Light grey"},
        },
        "3": {"class_type": "Join", "inputs": {"a": ["1", 0], "b": ["2", 0]}},
        "4": {
            "class_type": "SaveImage",
            "inputs": {"images": ["3", 0], "filename_prefix": "greys"},
            "_meta": {"title": "Save both"},
        },
    }


@pytest.fixture
def fake():
    """A ComfyUI server that loses connections on demand; see fake_comfyui.py."""
    pytest.importorskip("websockets")
    from mannequin.tests.headless.fake_comfyui import FakeComfyUI

    server = FakeComfyUI()
    yield server
    server.close()


@pytest.fixture
def on_fake(fake, monkeypatch, tmp_path):
    """Runs a command against the fake server, in tmp_path."""
    from mannequin import __main__ as command_line

    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, server=fake.url):
        return CliRunner().invoke(
            command_line.app, [*map(str, arguments), *(["--server", server] if server else [])]
        )

    return invoke


@pytest.fixture(scope="session")
def interruptible():
    """Keywords of Popen for a child that hears Ctrl-C, also when these tests run in the background
    of a shell, whose children ignore it."""
    if sys.platform == "win32":
        return {}
    return {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
