"""Every CPU backend against the definition, outputs and gradients, over drawn shapes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mannequin.kernels import blocks, eager, merged, sdpa

PAIRS = [
    (sdpa, "reference_attention"),
    (sdpa, "joint_attention"),
    (sdpa, "mixture_attention"),
    (sdpa, "flow_of_attention"),
    (merged, "reference_attention"),
    (merged, "joint_attention"),
    (blocks, "flow_of_attention"),
]


@pytest.mark.parametrize(
    "module, operation", PAIRS, ids=[f"{m.__name__.rpartition('.')[2]}-{o}" for m, o in PAIRS]
)
def test_equals_eager(module, operation, cases):
    @settings(max_examples=40, deadline=None)
    @given(case=cases[operation]())
    def check(case):
        case.assert_equals_eager(module)

    check()


@pytest.mark.parametrize("operation", ["reference_attention", "flow_of_attention"])
def test_fp64_is_kept(operation, cases):
    @settings(max_examples=10, deadline=None)
    @given(case=cases[operation](dtypes=st.just(torch.float64)))
    def check(case):
        case.assert_equals_eager(sdpa, rtol=1e3)

    check()


def test_blocks_smaller_than_the_map(monkeypatch, cases):
    monkeypatch.setattr(blocks, "BLOCK", 64)
    monkeypatch.setattr(blocks, "COLUMNS", 16)

    @settings(max_examples=20, deadline=None)
    @given(case=cases["flow_of_attention"](dtypes=st.just(torch.float32)))
    def check(case):
        case.assert_equals_eager(blocks)

    check()


def test_blocks_with_steep_logits(monkeypatch, cases):
    """The largest logit is searched for; nothing over- or underflows."""
    g = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, n, 40, generator=g) * 12 for n in (33, 50))
    xy = torch.rand(50, 2, generator=g)
    seen = torch.rand(2, 50, generator=g) < 0.5
    results = []
    for module, dtype in ((blocks, torch.float32), (eager, torch.float64)):
        inputs = [t.to(dtype).requires_grad_() for t in (q, k)]
        flow = module.flow_of_attention(*inputs, xy.to(dtype), 1.0, seen)
        results.append([flow, *torch.autograd.grad(flow.square().sum(), inputs)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected, atol=1e-3, rtol=1e-3)
    monkeypatch.setattr(blocks, "STEEP", -1.0)
    monkeypatch.setattr(blocks, "COLUMNS", 16)

    @settings(max_examples=20, deadline=None)
    @given(case=cases["flow_of_attention"](dtypes=st.just(torch.float32)))
    def check(case):
        case.assert_equals_eager(blocks)

    check()


def test_no_map_is_held():
    """Ten thousand keys to ten thousand queries: the map alone would be 400 MB per head."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else [out]:
                if isinstance(t, torch.Tensor):
                    largest = max(largest, t.untyped_storage().nbytes())
            return out

    n = 10_000
    q, k = (torch.randn(1, 1, n, 8) for _ in range(2))
    xy = torch.rand(n, 2)
    for module in (blocks, sdpa):
        with Watch(), torch.no_grad():
            module.flow_of_attention(q, k, xy)
    with Watch(), torch.no_grad():
        merged.reference_attention(q, k, k, k, k, xy)
    assert 0 < largest < 16 * 2**20
