import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mannequin.kernels import eager, sdpa


def tensors(n: int, m: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64):
    g = torch.Generator().manual_seed(seed)
    sizes = (n, n, n, m, m)
    return [torch.randn(2, 3, s, d, generator=g, dtype=dtype) for s in sizes]


def test_eager_is_one_softmax_over_concatenated_keys():
    q, k, v, k_ref, v_ref = tensors(5, 7, 8)
    keys, values = torch.cat([k, k_ref], 2), torch.cat([v, v_ref], 2)
    expected = torch.softmax(q @ keys.mT / math.sqrt(8), -1) @ values
    out, nothing = eager.reference_attention(q, k, v, k_ref, v_ref)
    assert nothing is None
    torch.testing.assert_close(out, expected)


def test_eager_gradients():
    q, k, v, k_ref, v_ref = (t.requires_grad_() for t in tensors(3, 4, 4))
    moments = torch.randn(4, 2, dtype=torch.float64)

    def both(*args):
        return eager.reference_attention(*args, moments, 0.3)

    assert torch.autograd.gradcheck(both, (q, k, v, k_ref, v_ref))
    assert torch.autograd.gradcheck(
        lambda a, b: eager.flow_of_attention(a, b, moments, 2.0), (q, k_ref)
    )


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    d=st.sampled_from([8, 20, 32, 40]),
    c=st.sampled_from([0, 2, 4, 8]),
    log_strength=st.sampled_from([0.0, -1.0, 0.5]),
)
def test_sdpa_equals_eager(n, m, d, c, log_strength):
    qkv = tensors(n, m, d, seed=n * 41 + m, dtype=torch.float32)
    moments = torch.randn(m, c) if c else None
    out, averages = sdpa.reference_attention(*qkv, moments, log_strength)
    expected, expected_averages = eager.reference_attention(*qkv, moments, log_strength)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)
    if c:
        torch.testing.assert_close(averages, expected_averages, atol=2e-6, rtol=1e-5)
    else:
        assert averages is None


def test_sdpa_gradients_equal_eager():
    moments = torch.randn(9, 4)
    grads = []
    for backend in (sdpa, eager):
        qkv = [t.requires_grad_() for t in tensors(6, 9, 16, dtype=torch.float32)]
        out, averages = backend.reference_attention(*qkv, moments, 0.2)
        (out.square().sum() + averages.square().sum()).backward()
        grads.append([t.grad for t in qkv])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_flow_of_attention(tau):
    q, _, _, k_ref, _ = tensors(6, 9, 16, dtype=torch.float32)
    xy = torch.randn(9, 2)
    torch.testing.assert_close(
        sdpa.flow_of_attention(q, k_ref, xy, tau),
        eager.flow_of_attention(q, k_ref, xy, tau),
        atol=2e-6,
        rtol=1e-5,
    )


def test_temperature_acts_inside_the_softmax():
    q, _, _, k_ref, _ = tensors(6, 9, 16)
    xy = torch.randn(9, 2, dtype=torch.float64)
    flat = eager.flow_of_attention(q, k_ref, xy, 1e9)
    torch.testing.assert_close(flat, xy.mean(0).expand_as(flat), atol=1e-6, rtol=0)
