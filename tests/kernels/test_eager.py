"""The definitions: what they say, and that their gradients are theirs."""

import math

import pytest
import torch

from mannequin.kernels import eager


def tensors(n: int, m: int, d: int, seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    sizes = (n, n, n, m, m)
    return [torch.randn(2, 2, s, d, generator=g, dtype=torch.float64) for s in sizes]


SEEN = torch.tensor([[True, False, True, True], [False] * 4])


def test_reference_is_one_softmax_over_concatenated_keys():
    q, k, v, k_ref, v_ref = tensors(5, 7, 8)
    keys, values = torch.cat([k, k_ref], 2), torch.cat([v, v_ref], 2)
    expected = torch.softmax(q @ keys.mT / math.sqrt(8), -1) @ values
    out, nothing = eager.reference_attention(q, k, v, k_ref, v_ref)
    assert nothing is None
    torch.testing.assert_close(out, expected)


def test_strength_scales_the_reference_share():
    q, k, v, k_ref, v_ref = tensors(5, 7, 8)
    one = torch.ones(7, 1, dtype=torch.float64)
    masses = [
        eager.reference_attention(q, k, v, k_ref, v_ref, one, math.log(s))[1] for s in (1.0, 3.0)
    ]
    odds = [m / (1 - m) for m in masses]
    torch.testing.assert_close(odds[1], 3 * odds[0])
    per_key = torch.full((2, 7), math.log(3.0), dtype=torch.float64)
    same = eager.reference_attention(q, k, v, k_ref, v_ref, one, per_key)[1]
    torch.testing.assert_close(same, masses[1])


def test_hidden_keys_are_as_if_not_there():
    q, k, v, k_ref, v_ref = tensors(5, 4, 8)
    out, _ = eager.reference_attention(q, k, v, k_ref, v_ref, key_mask=SEEN)
    kept = SEEN[0]
    first, _ = eager.reference_attention(q, k, v, k_ref[:, :, kept], v_ref[:, :, kept])
    torch.testing.assert_close(out[0], first[0])
    own = torch.softmax(q @ k.mT / math.sqrt(8), -1) @ v
    torch.testing.assert_close(out[1], own[1])


def test_joint_of_one_query_is_reference_attention():
    q, k, v, k_ref, v_ref = tensors(5, 7, 8)
    joint = eager.joint_attention([(q, k, v), (q, k_ref, v_ref)], 2.0)
    torch.testing.assert_close(
        joint, eager.reference_attention(q, k, v, k_ref, v_ref, temperature=2.0)[0]
    )


def test_mixture_of_one_expert_is_attention():
    q, k, v, k_ref, v_ref = tensors(5, 7, 8)
    weights = torch.zeros(2, 5, 2, dtype=torch.float64)
    weights[..., 1] = 1
    out = eager.mixture_attention([(q, k, v), (q, k_ref, v_ref)], weights)
    torch.testing.assert_close(out, eager.joint_attention([(q, k_ref, v_ref)]))


def test_temperature_acts_inside_the_softmax():
    q, _, _, k_ref, _ = tensors(6, 9, 16)
    xy = torch.randn(9, 2, dtype=torch.float64)
    flat = eager.flow_of_attention(q, k_ref, xy, 1e9)
    torch.testing.assert_close(flat, xy.mean(0).expand_as(flat), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seen", [None, SEEN])
def test_gradients(seen):
    q, k, v, k_ref, v_ref = inputs = [t.requires_grad_() for t in tensors(3, 4, 4)]
    g = torch.Generator().manual_seed(1)
    moments = torch.randn(4, 2, generator=g, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, 4, generator=g, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 2, generator=g, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda *a: eager.reference_attention(*a, 1.5, seen), (*inputs, moments, bias))
    q_2 = (q.detach() + 0.1).requires_grad_()
    sources = (q, k, v, q_2, k_ref, v_ref)
    assert check(lambda *a: eager.joint_attention([a[:3], a[3:]], 1.5, [None, seen]), sources)
    assert check(
        lambda w, *a: eager.mixture_attention([a[:3], a[3:]], w, 1.5, [None, seen]),
        (weights, *sources),
    )
    assert check(lambda a, b, c: eager.flow_of_attention(a, b, c, 2.0, seen), (q, k_ref, moments))
