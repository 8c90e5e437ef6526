"""A host's own attention runs what asks for nothing more; the report says who runs, and why."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from mannequin import kernels
from mannequin.__main__ import app
from mannequin.kernels import eager, report
from mannequin.kernels.backends import REGISTRY
from mannequin.kernels.offered import offer
from mannequin.lab.benchmarks import device


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.setattr(REGISTRY, "backends", list(REGISTRY.backends))
    monkeypatch.setattr(REGISTRY, "failed", {})
    seen = []

    def attention(q, k, v):
        seen.append(k.shape[2])
        return eager.joint_attention([(q, k, v)])

    offer("comfy", attention)
    return seen


def random(*lengths: int) -> list[torch.Tensor]:
    return [torch.randn(2, 3, n, 8) for n in lengths]


def test_plain_calls_go_to_the_host(calls):
    q, k, v, k_ref, v_ref = random(5, 6, 6, 7, 7)
    weights = torch.rand(2, 5, 2)
    pairs = [
        (lambda m: m.joint_attention([(q, k, v), (q, k_ref, v_ref)]), [13]),
        (lambda m: m.reference_attention(q, k, v, k_ref, v_ref)[0], [13]),
        (lambda m: m.mixture_attention([(q, k, v), (q, k_ref, v_ref)], weights), [6, 7]),
    ]
    for call, expected in pairs:
        calls.clear()
        torch.testing.assert_close(call(kernels), call(eager))
        assert calls == expected


def test_calls_with_more_do_not(calls):
    q, k, v, k_ref, v_ref = random(5, 6, 6, 7, 7)
    kernels.reference_attention(q, k, v, k_ref, v_ref, torch.ones(7, 1))
    kernels.reference_attention(q, k, v, k_ref, v_ref, log_strength=0.5)
    kernels.joint_attention([(q, k, v), (q + 1, k_ref, v_ref)])
    kernels.joint_attention([(q, k, v)], 2.0)
    kernels.joint_attention([(q.requires_grad_(), k, v)])
    kernels.flow_of_attention(q, k_ref, torch.ones(7, 2))
    assert calls == []


def test_a_later_offer_takes_the_place(calls):
    offer("comfy", lambda q, k, v: torch.zeros_like(q))
    assert REGISTRY.names().count("comfy") == 1
    q, k, v = random(5, 6, 6)
    assert not kernels.attention(q, k, v).any()


def test_report_names_who_runs_and_every_reason(calls):
    said = report.text(torch.device("cpu"), torch.float32)
    assert "plain attention: comfy" in said
    assert "with a reference, flow recorded: merged" in said
    assert "comfy: plain attention only, not moments" in said
    assert "triton: needs an NVIDIA or AMD GPU, not cpu" in said
    assert "unmeasured" in said
    for answers in report.verdicts(torch.device("cpu"), torch.float32, 40).values():
        assert [v.backend for v in answers] == REGISTRY.names()
        assert sum(v.runs for v in answers) == 1


def test_the_command_prints_the_report():
    done = CliRunner().invoke(app, ["kernels"])
    assert done.exit_code == 0
    assert done.stdout.strip() == report.text(*usual()).strip()


def usual() -> tuple[torch.device, torch.dtype]:
    where = report.usual_device()
    return where, torch.float32 if where.type == "cpu" else torch.float16


def test_the_self_test_tells_right_from_wrong(monkeypatch):
    monkeypatch.setattr(device, "WIDTHS", (40,))
    monkeypatch.setattr(device, "CALLS", {"joint_attention": device.CALLS["joint_attention"]})
    monkeypatch.setattr(report, "usual_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(device, "usual_device", lambda: torch.device("cpu"))
    said = device.report(tokens=16)
    assert "merged: right" in said and "sdpa: right" in said
    assert "triton: No attention backend can run" in said and "not cpu" in said
    (sdpa,) = [b for b in REGISTRY.backends if b.name == "sdpa"]
    wrong = {"joint_attention": lambda sources, *rest: eager.joint_attention(sources, *rest) * 1.01}
    monkeypatch.setattr(REGISTRY, "backends", [replace(sdpa, load=lambda: wrong)])
    assert "sdpa: WRONG" in device.report(tokens=16)
