"""The same through torch's fused attention: no map is ever held in memory.

Extra outputs ride along as extra value channels, and the strength as an extra query/key channel.
Values wider than queries make torch fall back to the path that holds the map, so all are padded
to one width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH_STEP = 16


def _pad(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (0, width - x.shape[-1]))


def reference_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_ref: Tensor,
    v_ref: Tensor,
    moments: Tensor | None = None,
    log_strength: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    """See `eager.reference_attention`."""
    d = q.shape[-1]
    scale = 1 / math.sqrt(d)
    keys, values = torch.cat([k, k_ref], -2), torch.cat([v, v_ref], -2)
    if log_strength:
        bias = keys.new_zeros(keys.shape[-2], 1)
        bias[k.shape[-2] :] = log_strength / scale
        keys = torch.cat([keys, bias.expand(*keys.shape[:2], -1, 1)], -1)
        q = torch.cat([q, torch.ones_like(q[..., :1])], -1)
    if moments is not None:
        extra = F.pad(moments.to(values), (0, 0, k.shape[-2], 0))
        values = torch.cat([values, extra.expand(*values.shape[:2], -1, -1)], -1)
    width = max(q.shape[-1], values.shape[-1])
    if width > d:
        width = -(-width // WIDTH_STEP) * WIDTH_STEP
    out = F.scaled_dot_product_attention(
        _pad(q, width), _pad(keys, width), _pad(values, width), scale=scale
    )
    if moments is None:
        return out[..., :d], None
    return out[..., :d], out[..., d : d + moments.shape[-1]]


def flow_of_attention(q: Tensor, k_ref: Tensor, coordinates: Tensor, tau: float = 1.0) -> Tensor:
    """See `eager.flow_of_attention`."""
    d = q.shape[-1]
    values = _pad(coordinates.to(q), d).expand(*k_ref.shape[:2], -1, -1)
    scale = 1 / (math.sqrt(d) * tau)
    flow = F.scaled_dot_product_attention(q, k_ref, values, scale=scale)
    return flow[..., : coordinates.shape[-1]].mean(1)
