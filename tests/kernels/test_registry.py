"""Who runs a call, why, and what happens when a backend fails or a shape is wrong."""

import logging
from dataclasses import replace

import pytest
import torch

from mannequin import kernels
from mannequin.kernels import blocks, eager, merged
from mannequin.kernels.backends import REGISTRY
from mannequin.kernels.registry import Backend, Registry, Request

REQUEST = Request(
    "joint_attention", torch.device("cpu"), torch.float32, (40, 40), 5, (5, 7), frozenset()
)


def registry(*backends: tuple[str, object, object], may_fail: bool = True) -> Registry:
    out = Registry()
    for name, refuses, function in backends:
        load = {"joint_attention": function}
        out.add(Backend(name, "", lambda r, s=refuses: s, lambda f=load: f, may_fail))
    return out


def broken(*args: object) -> None:
    raise RuntimeError("no kernel image")


def test_the_first_that_accepts_runs():
    picked = registry(("a", "too old", broken), ("b", None, lambda x: x + 1), ("c", None, broken))
    assert picked.run(REQUEST, 1) == 2
    assert [(v.backend, v.runs, v.reason) for v in picked.verdicts(REQUEST)] == [
        ("a", False, "too old"),
        ("b", True, "runs"),
        ("c", False, "would run, but one before it does"),
    ]


def test_a_failure_falls_back_and_is_said_once(caplog):
    picked = registry(("a", None, broken), ("b", None, lambda x: x + 1))
    with caplog.at_level(logging.WARNING, logger="mannequin"):
        assert [picked.run(REQUEST, i) for i in range(3)] == [1, 2, 3]
    assert len(caplog.records) == 1
    assert "no kernel image" in caplog.text and "joint_attention" in caplog.text
    first, second = picked.verdicts(REQUEST)
    assert not first.runs and "no kernel image" in first.reason
    assert second.runs


def test_a_failed_backward_leaves_out_calls_with_gradients_only(caplog):
    picked = registry(("a", None, lambda x: x), ("b", None, lambda x: x + 1))
    learning = replace(REQUEST, extras=frozenset({"gradient"}))
    with caplog.at_level(logging.WARNING, logger="mannequin"):
        for _ in range(3):
            picked.fail("a", learning, RuntimeError("out of registers"), "backward")
    assert len(caplog.records) == 1
    assert "the gradients of joint_attention" in caplog.text
    assert picked.run(learning, 1) == 2
    assert (
        "its backward failed: RuntimeError: out of registers" in picked.verdicts(learning)[0].reason
    )
    assert picked.run(REQUEST, 1) == 1


def test_out_of_memory_is_the_callers():
    def full(*args):
        raise torch.cuda.OutOfMemoryError("full")

    picked = registry(("a", None, full), ("b", None, lambda x: x))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        picked.run(REQUEST, 1)
    assert picked.failed == {}


def test_errors_of_solid_backends_are_the_callers():
    with pytest.raises(RuntimeError, match="no kernel image"):
        registry(("a", None, broken), ("b", None, broken), may_fail=False).run(REQUEST)


def test_nobody_accepts():
    with pytest.raises(RuntimeError, match=r"a: too old; b: failed: .*no kernel image"):
        registry(("a", "too old", broken), ("b", None, broken)).run(REQUEST)


def test_only():
    with REGISTRY.only("eager"):
        (runs,) = [v.backend for v in REGISTRY.verdicts(REQUEST) if v.runs]
        assert runs == "eager"
    assert [v.backend for v in REGISTRY.verdicts(REQUEST) if v.runs] == ["merged"]
    with pytest.raises(ValueError, match="sdqa"), REGISTRY.only("sdqa"):
        pass


def random(*lengths: int, d: int = 8) -> list[torch.Tensor]:
    return [torch.randn(2, 3, n, d) for n in lengths]


def spied(monkeypatch, module, name: str) -> list:
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a: calls.append(a) or function(*a))
    return calls


def test_public_functions_reach_the_backend_of_their_device(monkeypatch):
    q, k, v, k_ref, v_ref = random(5, 6, 6, 7, 7)
    xy = torch.rand(7, 2)
    calls = spied(monkeypatch, merged, "reference_attention")
    out, averages = kernels.reference_attention(q, k, v, k_ref, v_ref, xy, 0.5)
    assert len(calls) == 1
    for got, expected in zip(
        (out, averages), eager.reference_attention(q, k, v, k_ref, v_ref, xy, 0.5), strict=True
    ):
        torch.testing.assert_close(got, expected)
    calls = spied(monkeypatch, blocks, "flow_of_attention")
    torch.testing.assert_close(
        kernels.flow_of_attention(q, k_ref, xy, 2.0), eager.flow_of_attention(q, k_ref, xy, 2.0)
    )
    assert len(calls) == 1


def test_a_table_that_learns_gets_its_gradient():
    q, k, v, k_ref, v_ref = random(5, 6, 6, 7, 7)
    xy, bias = torch.rand(7, 2, requires_grad=True), torch.zeros(2, 7, requires_grad=True)
    grads = []
    for function in (kernels.reference_attention, eager.reference_attention):
        out, averages = function(q, k, v, k_ref, v_ref, xy, bias)
        grads.append(torch.autograd.grad(out.sum() + averages.square().sum(), (xy, bias)))
    torch.testing.assert_close(*grads)


def test_plain_attention_is_torchs_bit_for_bit():
    q, k, v = random(5, 6, 6)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert torch.equal(kernels.attention(q, k, v), expected)


def test_sources_without_keys_are_as_if_not_there():
    q, k, v, none = random(5, 6, 6, 0)
    expected = kernels.attention(q, k, v)
    assert torch.equal(kernels.joint_attention([(q, k, v), (q + 1, none, none)]), expected)
    out, mass = kernels.reference_attention(q, k, v, none, none, torch.ones(0, 1))
    assert torch.equal(out, expected) and torch.equal(mass, torch.zeros(2, 3, 5, 1))


Q, K = random(5, 6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kernels.attention(Q[0], K, K), r"expected q \[B, H, N, d\], got \[3, 5, 8\]"),
        (lambda: kernels.attention(Q, K, K[:, :, 1:]), r"expected v \[2, 3, 6, 8\], got"),
        (lambda: kernels.attention(Q, K.half(), K), "got k in torch.float16"),
        (lambda: kernels.joint_attention([(Q, K, K), (Q, K[:1], K)]), "k of source 1"),
        (lambda: kernels.joint_attention([]), "at least one"),
        (lambda: kernels.joint_attention([(Q, K[:, :, :0], K[:, :, :0])]), "at least one source"),
        (lambda: kernels.joint_attention([(Q, K, K)], 0.0), "temperature above 0"),
        (lambda: kernels.joint_attention([(Q, K, K)], 1.0, [torch.ones(2, 6)]), "boolean key mask"),
        (lambda: kernels.mixture_attention([(Q, K, K)], torch.ones(2, 5)), r"weights \[2, 5, 1\]"),
        (lambda: kernels.flow_of_attention(Q, K, torch.ones(5, 2)), r"coordinates \[6, 2\]"),
        (
            lambda: kernels.reference_attention(Q, K, K, K, K, torch.ones(5, 2)),
            r"moments \[6, 2\]",
        ),
    ],
)
def test_wrong_shapes_say_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
