"""Through torch's fused attention, on any device: no map is ever held in memory.

Extra outputs ride along as extra value channels, a strength as an extra query/key channel, and
several query sets as queries side by side over block-diagonal keys. Values wider than queries make
torch fall back to the path that holds the map, so all are padded to one width.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .eager import Masks, Source, together

WIDTH_STEP = 16


def pad(x: Tensor, width: int) -> Tensor:
    """x with its last dimension filled up with zeros."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


def width_for(d: int, e: int) -> int:
    """The width that queries of width d and values of width e share."""
    return d if e <= d else -(-max(d, e) // WIDTH_STEP) * WIDTH_STEP


def _attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, key_mask: Tensor | None = None
) -> Tensor:
    """softmax(q k^T scale) v with any widths; zero where every key is hidden."""
    width = width_for(q.shape[-1], v.shape[-1])
    q, k, wide = pad(q, width), pad(k, width), pad(v, width)
    if key_mask is None:
        return F.scaled_dot_product_attention(q, k, wide, scale=scale)[..., : v.shape[-1]]
    some = key_mask.any(-1)[:, None, None, None]
    seen = key_mask[:, None, None] | ~some
    out = F.scaled_dot_product_attention(q, k, wide, attn_mask=seen, scale=scale)
    return (out * some)[..., : v.shape[-1]]


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
    """See `eager.reference_attention`."""
    scale = 1 / (math.sqrt(q.shape[-1]) * temperature)
    own, e = k.shape[-2], v.shape[-1]
    seen = together([(q, k, v), (q, k_ref, v_ref)], [None, key_mask])
    keys, values = torch.cat([k, k_ref], -2), torch.cat([v, v_ref], -2)
    if isinstance(log_strength, Tensor) or log_strength:
        bias = keys.new_zeros(len(keys), own)
        ref = keys.new_ones(len(keys), k_ref.shape[-2]) * log_strength
        bias = torch.cat([bias, ref], 1)[:, None, :, None] / scale
        keys = torch.cat([keys, bias.expand(-1, keys.shape[1], -1, 1)], -1)
        q = torch.cat([q, torch.ones_like(q[..., :1])], -1)
    if moments is not None:
        extra = F.pad(moments, (0, 0, own, 0))
        values = torch.cat([values, extra.expand(*values.shape[:2], -1, -1)], -1)
    out = _attention(q, keys, values, scale, seen)
    return out[..., :e], None if moments is None else out[..., e:]


def joint_attention(
    sources: Sequence[Source], temperature: float = 1.0, key_masks: Masks = None
) -> Tensor:
    """See `eager.joint_attention`."""
    q, d = sources[0][0], sources[0][0].shape[-1]
    keys = [k for _, k, _ in sources]
    if any(other is not q for other, _, _ in sources):
        q = torch.cat([q for q, _, _ in sources], -1)
        keys = [F.pad(k, (i * d, q.shape[-1] - (i + 1) * d)) for i, k in enumerate(keys)]
    values = torch.cat([v for *_, v in sources], -2)
    scale = 1 / (math.sqrt(d) * temperature)
    return _attention(q, torch.cat(keys, -2), values, scale, together(sources, key_masks))


def mixture_attention(
    experts: Sequence[Source],
    weights: Tensor,
    temperature: float = 1.0,
    key_masks: Masks = None,
) -> Tensor:
    """See `eager.mixture_attention`. Without gradients, two outputs are held at a time."""
    scale = 1 / (math.sqrt(experts[0][0].shape[-1]) * temperature)
    out = None
    for i, (q, k, v) in enumerate(experts):
        one = _attention(q, k, v, scale, key_masks[i] if key_masks else None)
        share = weights[:, None, :, i, None]
        if one.requires_grad or share.requires_grad:
            out = one * share if out is None else out + one * share
        else:
            out = one.mul_(share) if out is None else out.add_(one.mul_(share))
    return out


def flow_of_attention(
    q: Tensor,
    k_ref: Tensor,
    coordinates: Tensor,
    tau: float = 1.0,
    key_mask: Tensor | None = None,
) -> Tensor:
    """See `eager.flow_of_attention`."""
    scale = 1 / (math.sqrt(q.shape[-1]) * tau)
    values = coordinates.expand(*k_ref.shape[:2], -1, -1)
    return _attention(q, k_ref, pad(values, q.shape[-1]), scale, key_mask)[..., :2].mean(1)
