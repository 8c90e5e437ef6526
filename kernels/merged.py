"""Several sources under one softmax on a CPU: torch's fused attention per source, then merged.

A fused call also gives the log-sum of its softmax. With L_i that of source i and L that of all,

    out = sum_i exp(L_i - L) out_i,

and the fused backward of one source, given L and `out` of the whole, is already the gradient of
the joint softmax: its probabilities are exp(s - L). Nothing is concatenated, a strength is a number
added to L_i, and only the source that carries extra value channels pays for them.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .eager import Masks, Source
from .sdpa import pad, width_for

NAME = "_scaled_dot_product_flash_attention_for_cpu"


def missing() -> str | None:
    """Why this torch cannot do it."""
    both = hasattr(torch.ops.aten, NAME) and hasattr(torch.ops.aten, f"{NAME}_backward")
    return None if both else f"torch {torch.__version__} has no {NAME}"


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
    """See `eager.reference_attention`; moments and a tensor of strengths are constants."""
    per_key = log_strength if isinstance(log_strength, Tensor) else None
    biases = (0.0, 0.0 if per_key is not None else log_strength)
    masks = (None, _mask(q, k_ref, key_mask, per_key))
    empty = (None, None if key_mask is None else ~key_mask.any(-1))
    scale = 1 / (math.sqrt(q.shape[-1]) * temperature)
    out, averages = _Merged.apply(scale, moments, biases, masks, empty, q, k, v, q, k_ref, v_ref)
    return out, averages if moments is not None else None


def joint_attention(
    sources: Sequence[Source], temperature: float = 1.0, key_masks: Masks = None
) -> Tensor:
    """See `eager.joint_attention`."""
    key_masks = key_masks or [None] * len(sources)
    masks = [_mask(q, k, m, None) for (q, k, _), m in zip(sources, key_masks, strict=True)]
    empty = [None if m is None else ~m.any(-1) for m in key_masks]
    scale = 1 / (math.sqrt(sources[0][0].shape[-1]) * temperature)
    flat = [t for source in sources for t in source]
    return _Merged.apply(scale, None, [0.0] * len(sources), masks, empty, *flat)[0]


def _mask(q: Tensor, k: Tensor, key_mask: Tensor | None, per_key: Tensor | None) -> Tensor | None:
    """What is added to the logits, [B, 1, 1, M]; nothing hidden where all keys would be."""
    if key_mask is None and per_key is None:
        return None
    added = torch.zeros(k.shape[0], k.shape[2], dtype=q.dtype, device=q.device)
    if per_key is not None:
        added = added + per_key
    if key_mask is not None:
        seen = key_mask | ~key_mask.any(-1, keepdim=True)
        added = added.masked_fill(~seen, -math.inf)
    return added[:, None, None]


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float):
    """(out [B, H, N, d], log-sum [B, H, N])"""
    return getattr(torch.ops.aten, NAME)(q, k, v, attn_mask=mask, scale=scale)


class _Merged(torch.autograd.Function):
    """The last source carries the moments; without any, the second result is empty."""

    @staticmethod
    def forward(
        ctx: Any,
        scale: float,
        moments: Tensor | None,
        biases: Sequence[float],
        masks: Sequence[Tensor | None],
        empty: Sequence[Tensor | None],
        *flat: Tensor,
    ) -> tuple[Tensor, Tensor]:
        out = averages = total = None
        e = flat[2].shape[-1]
        for i, (q, k, v) in enumerate(_sources(flat)):
            last = moments if 3 * i + 3 == len(flat) else None
            one, log_sum = _fused(*_widened(q, k, v, last), masks[i], scale)
            if biases[i]:
                log_sum = log_sum + biases[i]
            if empty[i] is not None:
                log_sum = log_sum.masked_fill(empty[i][:, None, None], -math.inf)
            if out is None:
                out, total, share = one[..., :e], log_sum, None
                if empty[i] is not None:
                    out = out.masked_fill(empty[i][:, None, None, None], 0)
            else:
                both = torch.logaddexp(total, log_sum)
                before, share = (
                    torch.nan_to_num(torch.exp(x - both))[..., None].to(one)
                    for x in (total, log_sum)
                )
                out, total = out.mul_(before).add_(one[..., :e].mul_(share)), both
            if last is not None:
                averages = one[..., e : e + last.shape[-1]] * share
        if averages is None:
            averages = out.new_empty(0)
        saved = [t for t in (*masks, *empty) if t is not None]
        ctx.save_for_backward(out, averages, total, moments, *flat, *saved)
        ctx.has = [t is not None for t in (*masks, *empty)]
        ctx.scale, ctx.biases = scale, biases
        return out, averages

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_averages: Tensor) -> tuple[Tensor | None, ...]:
        out, averages, total, moments, *rest = ctx.saved_tensors
        count = len(ctx.biases)
        flat, saved = rest[: 3 * count], iter(rest[3 * count :])
        optional = [next(saved) if there else None for there in ctx.has]
        masks, empty = optional[:count], optional[count:]
        if moments is not None:
            out, grad = torch.cat([out, averages], -1), torch.cat([grad, grad_averages], -1)
        d, e = flat[0].shape[-1], flat[2].shape[-1]
        width = width_for(d, out.shape[-1])
        out, grad = _close(pad(out, width)), _close(pad(grad, width))
        backward = getattr(torch.ops.aten, f"{NAME}_backward")
        grads = []
        for i, (q, k, v) in enumerate(_sources(flat)):
            last = moments if i == count - 1 else None
            if last is not None:
                v = torch.cat([v, last.expand(*v.shape[:2], -1, -1)], -1)
            log_sum = total - ctx.biases[i]
            if empty[i] is not None:
                log_sum = log_sum.masked_fill(empty[i][:, None, None], math.inf)
            q, k, v = (_close(pad(t, width)) for t in (q, k, v))
            dq, dk, dv = backward(
                grad, q, k, v, out, log_sum, 0.0, False, attn_mask=masks[i], scale=ctx.scale
            )
            grads += [dq[..., :d], dk[..., :d], dv[..., :e]]
        return None, None, None, None, None, *grads


def _sources(flat: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))


def _widened(
    q: Tensor, k: Tensor, v: Tensor, moments: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """All three at one width; moments behind the values."""
    if moments is not None:
        v = torch.cat([v, moments.expand(*v.shape[:2], -1, -1)], -1)
    width = width_for(q.shape[-1], v.shape[-1])
    return tuple(_close(pad(t, width)) for t in (q, k, v))


def _close(t: Tensor) -> Tensor:
    """t, each channel next to the other."""
    return t if t.stride(-1) == 1 else t.contiguous()
