"""Launches the Triton programs: NVIDIA from compute capability 8.0, AMD with matrix units.

Imported only when the registry first picks this backend, or by the tests. Up to two sources run in
one launch; more of them go on from the state of the launch before.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import sdpa, triton_kernels
from .backends import REGISTRY
from .eager import Masks, Source
from .registry import Request
from .triton_tiles import MOMENTS, Tiles, power, target, tiles

LOG2E = 1 / math.log(2)
Again = Callable[..., tuple[Tensor, ...]]


def reference_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_ref: Tensor,
    v_ref: Tensor,
    moments: Tensor | None = None,
    log_strength: float | Tensor = 0.0,
    temperature: float = 1.0,
    key_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """See `eager.reference_attention`; at most 16 moments."""

    def again(q_ref, k_ref, v_ref, q, k, v):
        out, averages = sdpa.reference_attention(
            q, k, v, k_ref, v_ref, moments, log_strength, temperature, key_mask
        )
        return (out,) if averages is None else (out, averages)

    per_key = log_strength if isinstance(log_strength, Tensor) else None
    strength = 0.0 if per_key is not None else log_strength
    biases = [_bias(key_mask, per_key), None]
    scale = 1 / (math.sqrt(q.shape[-1]) * temperature)
    out, averages = _Attention.apply(
        "reference_attention",
        *(again, scale, strength, moments, biases, q, k_ref, v_ref, q, k, v),
    )
    return out, None if moments is None else averages


def joint_attention(
    sources: Sequence[Source], temperature: float = 1.0, key_masks: Masks = None
) -> Tensor:
    """See `eager.joint_attention`."""
    return _joint("joint_attention", sources, temperature, key_masks)


def _joint(operation: str, sources: Sequence[Source], temperature: float, masks: Masks) -> Tensor:
    """The same on behalf of an operation."""
    masks = masks or [None] * len(sources)

    def again(*flat):
        triples = list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
        return (sdpa.joint_attention(triples, temperature, masks),)

    scale = 1 / (math.sqrt(sources[0][0].shape[-1]) * temperature)
    biases = [_bias(mask, None) for mask in masks]
    flat = [t for source in sources for t in source]
    return _Attention.apply(operation, again, scale, 0.0, None, biases, *flat)[0]


def mixture_attention(
    experts: Sequence[Source],
    weights: Tensor,
    temperature: float = 1.0,
    key_masks: Masks = None,
) -> Tensor:
    """See `eager.mixture_attention`. One launch per two experts; with gradients, per expert."""
    masks = key_masks or [None] * len(experts)
    flat = [t for expert in experts for t in expert]
    if torch.is_grad_enabled() and any(t.requires_grad for t in (weights, *flat)):
        return sum(
            weights[:, None, :, i, None]
            * _joint("mixture_attention", [expert], temperature, [masks[i]])
            for i, expert in enumerate(experts)
        )
    scale = 1 / (math.sqrt(flat[0].shape[-1]) * temperature)
    return _forward(scale, 0.0, None, [_bias(m, None) for m in masks], flat, weights)[0]


def flow_of_attention(
    q: Tensor,
    k_ref: Tensor,
    coordinates: Tensor,
    tau: float = 1.0,
    key_mask: Tensor | None = None,
) -> Tensor:
    """See `eager.flow_of_attention`: the coordinates are the values."""
    values = coordinates.expand(*k_ref.shape[:2], -1, -1)
    return _joint("flow_of_attention", [(q, k_ref, values)], tau, [key_mask]).mean(1)


class _Attention(torch.autograd.Function):
    """One softmax over all sources; the first carries strength and moments.

    operation: what asked for it. again: the same by torch, for a backward that cannot run here.
    """

    @staticmethod
    def forward(
        ctx: Any,
        operation: str,
        again: Again,
        scale: float,
        strength: float,
        moments: Tensor | None,
        biases: Sequence[Tensor | None],
        *flat: Tensor,
    ) -> tuple[Tensor, Tensor]:
        flat = [_close(t) for t in flat]
        table = _table(moments)
        out, averages, log_sums = _forward(scale, strength, table, biases, flat)
        ctx.save_for_backward(out, averages, log_sums, table, *flat)
        ctx.operation, ctx.again = operation, again
        ctx.scale, ctx.strength, ctx.biases = scale, strength, biases
        ctx.count = 0 if moments is None else moments.shape[-1]
        return out, averages[..., : ctx.count].to(out.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_averages: Tensor) -> tuple[Tensor | None, ...]:
        if ("triton", ctx.operation, "backward") in REGISTRY.failed:
            return None, None, None, None, None, None, *_by_torch(ctx, grad, grad_averages)
        try:
            grads = _backward(ctx, grad, grad_averages)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            REGISTRY.fail("triton", _request(ctx, grad), error, "backward")
            grads = _by_torch(ctx, grad, grad_averages)
        return None, None, None, None, None, None, *grads


def _request(ctx: Any, grad: Tensor) -> Request:
    """What a backward that failed was asked for."""
    flat = ctx.saved_tensors[4:]
    widths, keys = (flat[0].shape[3], flat[2].shape[3]), tuple(k.shape[2] for k in flat[1::3])
    extras = frozenset({"gradient"})
    return Request(ctx.operation, grad.device, grad.dtype, widths, grad.shape[2], keys, extras)


def _by_torch(ctx: Any, grad: Tensor, grad_averages: Tensor) -> Sequence[Tensor | None]:
    """The gradients of a call whose forward ran here and whose backward cannot."""
    with torch.enable_grad():
        inputs = [t.detach().requires_grad_() for t in ctx.saved_tensors[4:]]
        outs = ctx.again(*inputs)
    given = (grad, grad_averages)[: len(outs)]
    return torch.autograd.grad(outs, inputs, given, allow_unused=True)


def _close(t: Tensor) -> Tensor:
    """t, each channel next to the other."""
    return t if t.stride(-1) == 1 else t.contiguous()


def _table(moments: Tensor | None) -> Tensor | None:
    """[M, 16]"""
    if moments is None:
        return None
    return sdpa.pad(moments, MOMENTS).contiguous()


def _bias(key_mask: Tensor | None, per_key: Tensor | None) -> Tensor | None:
    """What is added to the logits in base 2, [B, M] in fp32."""
    if key_mask is None:
        return None if per_key is None else (per_key.float() * LOG2E).contiguous()
    added = torch.zeros(key_mask.shape, device=key_mask.device)
    if per_key is not None:
        added = added + per_key.float() * LOG2E
    return added.masked_fill(~key_mask, -math.inf)


def _tiles(program: str, q: Tensor, v: Tensor, lean: bool = False) -> tuple[Tiles, str]:
    """The tiles for a call, and how precisely its products are taken."""
    kind, arch = target(q.device) or ("interpreter", None)
    precision = "tf32x3" if kind == "cuda" and q.dtype == torch.float32 else "ieee"
    return tiles(program, kind, arch, max(q.shape[-1], v.shape[-1]), lean), precision


def _aligned(*tensors: Tensor) -> bool:
    """Whether every row begins at a multiple of 16 bytes, so that rows load in wide pieces."""
    return all(
        t.data_ptr() % 16 == 0 and all(stride % 8 == 0 for stride in t.stride()[:3])
        for t in tensors
    )


def _strides(t: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if t is None else t.stride()[:3]


def _forward(
    scale: float,
    strength: float,
    table: Tensor | None,
    biases: Sequence[Tensor | None],
    flat: Sequence[Tensor],
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(out, averages [B, H, N, 16] in fp32, log-sums [B, H, N] in base 2); weights mix."""
    flat = [_close(t) for t in flat]
    q, v = flat[0], flat[2]
    (b, h, n, d), e = q.shape, v.shape[-1]
    out = q.new_empty(b, h, n, e)
    averages = q.new_empty(b, h, n, 0 if table is None else MOMENTS, dtype=torch.float32)
    log_sums = q.new_empty(b, h, n, dtype=torch.float32)
    even = all(k.shape[2] % 64 == 0 for k in flat[1::3])
    lean = even and weights is None and len(biases) < 3 and all(bias is None for bias in biases)
    tile, precision = _tiles("forward", q, v, lean)
    weights = None if weights is None else _close(weights)
    for first in range(0, len(biases), 2):
        a = flat[3 * first : 3 * first + 3]
        second = first + 1 < len(biases)
        z = flat[3 * first + 3 : 3 * first + 6] if second else a
        bias_a, bias_z = biases[first], biases[first + 1] if second else None
        keys = a[1].shape[2], z[1].shape[2]
        mixing = () if weights is None else (weights[..., first:],)
        triton_kernels.forward[triton.cdiv(n, tile.m), h, b](
            *a, bias_a, *z, bias_z, table, *(mixing or (None,)), out, averages, log_sums,
            *(s for t in a for s in _strides(t)), 0 if bias_a is None else bias_a.stride(0),
            *(s for t in z for s in _strides(t)), 0 if bias_z is None else bias_z.stride(0),
            *(mixing[0].stride()[:2] if mixing else (0, 0)), *_strides(out),
            h, n, *keys, scale * LOG2E, strength * LOG2E,
            D=d, BD=power(d), E=e, BE=power(e), BLOCK_M=tile.m, BLOCK_N=tile.n, SECOND=second,
            BIAS_A=bias_a is not None, BIAS_B=bias_z is not None, MOMENTS=table is not None,
            MIX=bool(mixing), CARRY=first > 0, EVEN=all(m % tile.n == 0 for m in keys),
            PRECISION=precision, ALIGNED=_aligned(*a, *z, out), num_warps=tile.warps,
            num_stages=tile.stages,
        )  # fmt: skip
    return out, averages, log_sums


def _backward(ctx: Any, grad: Tensor, grad_averages: Tensor) -> list[Tensor]:
    """dq, dk, dv of every source."""
    out, averages, log_sums, table, *flat = ctx.saved_tensors
    grad = _close(grad)
    moments = table is not None
    grad_mean = sdpa.pad(grad_averages, MOMENTS).to(grad.dtype).contiguous() if moments else None
    delta = torch.empty_like(log_sums)
    grads = []
    for i, bias in enumerate(ctx.biases):
        q, k, v = flat[3 * i : 3 * i + 3]
        (b, h, n, d), (m, e) = q.shape, v.shape[2:]
        dq, dk, dv = q.new_empty(b, h, n, d), k.new_empty(b, h, m, d), v.new_empty(b, h, m, e)
        strides = *_strides(q), *_strides(k), *_strides(v), 0 if bias is None else bias.stride(0)
        numbers = h, n, m, ctx.scale * LOG2E, (0.0 if i else ctx.strength) * LOG2E, ctx.scale
        carries = moments and i == 0
        tile, precision = _tiles("backward_queries", q, v)
        options = {
            **{"D": d, "BD": power(d), "E": e, "BE": power(e)},
            **{"BIASED": bias is not None, "TABLE": carries, "PRECISION": precision},
            "ALIGNED": _aligned(q, k, v, out, grad),
        }
        triton_kernels.backward_queries[triton.cdiv(n, tile.m), h, b](
            q, k, v, bias, table, out, grad, averages, grad_mean, log_sums, delta, dq,
            *strides, *_strides(out), *_strides(grad), *numbers,
            **options, BLOCK_M=tile.m, BLOCK_N=tile.n, MOMENTS=moments, EVEN=m % tile.n == 0,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        tile, _ = _tiles("backward_keys", q, v)
        triton_kernels.backward_keys[triton.cdiv(m, tile.n), h, b](
            q, k, v, bias, table, grad, grad_mean, log_sums, delta, dk, dv,
            *strides, *_strides(grad), *numbers,
            **options, BLOCK_M=tile.m, BLOCK_N=tile.n, EVEN=n % tile.m == 0,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        grads += [dq, dk, dv]
    return grads
