"""The Triton programs in Triton's interpreter against the definition; run by test_triton.py.

It needs TRITON_INTERPRET=1 before anything imports triton, and one thread. The interpreter holds
bf16 as raw 16-bit integers: products and conversions go through fp32 here, rounded to nearest even.
"""

import logging
import os

import numpy as np
import pytest
import torch
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter

from mannequin.kernels import eager, merged
from mannequin.kernels import triton as fused
from mannequin.kernels.backends import REGISTRY

EXAMPLES = int(os.environ.get("EXAMPLES", "30"))
LENGTHS = st.one_of(st.sampled_from([1, 4, 64, 77, 128]), st.integers(1, 70))


def _wide(x):
    if x.get_element_ty() != tl.bfloat16:
        return x
    return interpreter.TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


@pytest.fixture(autouse=True, scope="module")
def _bf16():
    patch = pytest.MonkeyPatch()
    dot = interpreter.InterpreterBuilder.create_dot
    convert = interpreter._convert_float

    def to_bf16(x, from_type, to_type, rounding):
        if (from_type, to_type) != (tl.float32, tl.bfloat16):
            return convert(x, from_type, to_type, rounding)
        bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)

    patch.setattr(
        interpreter.InterpreterBuilder,
        "create_dot",
        lambda self, a, b, *rest: dot(self, _wide(a), _wide(b), *rest),
    )
    patch.setattr(interpreter, "_convert_float", to_bf16)
    yield
    patch.undo()


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log2")
@pytest.mark.parametrize(
    "operation",
    ["reference_attention", "joint_attention", "mixture_attention", "flow_of_attention"],
)
def test_equals_eager(operation, cases):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=EXAMPLES < 10,
    )
    @given(case=cases[operation](lengths=LENGTHS))
    def check(case):
        case.assert_equals_eager(fused)

    check()


def test_many_keys(cases):
    """257 image tokens, and the state carried from launch to launch over five sources."""
    g = torch.Generator().manual_seed(0)
    sources = [
        [torch.randn(1, 1, n, 40, generator=g) for n in (9, m, m)] for m in (257, 77, 4, 1, 9)
    ]
    weights = torch.rand(1, 9, 5, generator=g)
    with torch.no_grad():
        for call in (
            lambda module: module.joint_attention(sources),
            lambda module: module.mixture_attention(sources, weights),
        ):
            torch.testing.assert_close(call(fused), call(eager), atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("d", [8, 40, 64, 80, 128, 160])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_no_worse_than_twice_torchs_error(d, dtype):
    g = torch.Generator().manual_seed(d)
    q, k, v, k_ref, v_ref = (torch.randn(1, 2, n, d, generator=g) for n in (64, 77, 77, 64, 64))
    tensors = [t.to(dtype) for t in (q, k, v, k_ref, v_ref)]
    xy = torch.rand(64, 2, generator=g).to(dtype)
    results = {}
    for module in (fused, merged, eager):
        wide = torch.float64 if module is eager else dtype
        inputs = [t.detach().to(wide).requires_grad_() for t in tensors]
        out, averages = module.reference_attention(*inputs, xy.to(wide))
        grads = torch.autograd.grad(out.square().sum() + averages.sum(), inputs)
        results[module] = [t.detach().double() for t in (out, averages, *grads)]
    for ours, torchs, exact in zip(*results.values(), strict=True):
        assert (ours - exact).norm() <= 2 * (torchs - exact).norm() + 1e-7 * exact.norm()


def test_a_backward_that_fails_is_done_by_torch_and_is_said_once(monkeypatch, caplog):
    """Three layers run forward first, as in a network; then the next step begins."""
    tries = []

    def broken(*args):
        tries.append(args)
        raise RuntimeError("out of registers")

    monkeypatch.setattr(fused, "_backward", broken)
    monkeypatch.setattr(REGISTRY, "failed", {})
    inputs = [torch.randn(1, 1, n, 8, requires_grad=True) for n in (5, 6, 6, 7, 7)]
    grads = []
    with caplog.at_level(logging.WARNING, logger="mannequin"):
        for module in (fused, eager):
            layers = [module.reference_attention(*inputs, torch.ones(7, 1)) for _ in range(3)]
            total = sum(out.square().sum() + mass.sum() for out, mass in layers)
            grads.append(torch.autograd.grad(total, inputs))
    assert len(tries) == len(caplog.records) == 1
    assert "the gradients of reference_attention" in caplog.text
    assert "out of registers" in caplog.text
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("operation", ["mixture_attention", "flow_of_attention"])
def test_a_failed_backward_is_remembered_under_what_was_asked_for(monkeypatch, operation):
    def broken(*args):
        raise RuntimeError("out of registers")

    monkeypatch.setattr(fused, "_backward", broken)
    monkeypatch.setattr(REGISTRY, "failed", {})
    q, k = (torch.randn(1, 1, n, 8, requires_grad=True) for n in (5, 7))
    calls = {
        "mixture_attention": lambda: fused.mixture_attention([(q, k, k)], torch.ones(1, 5, 1)),
        "flow_of_attention": lambda: fused.flow_of_attention(q, k, torch.rand(7, 2)),
    }
    calls[operation]().square().sum().backward()
    assert q.grad.isfinite().all() and q.grad.any()
    assert list(REGISTRY.failed) == [("triton", operation, "backward")]
