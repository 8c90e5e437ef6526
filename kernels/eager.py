"""The readable definitions. Every other backend is compared to these."""

import math

import torch
from torch import Tensor


def reference_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_ref: Tensor,
    v_ref: Tensor,
    moments: Tensor | None = None,
    log_strength: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    """One softmax over own and reference keys (Leffa, section 3.1), with optional moments.

    q, k, v: [B, H, N, d]; k_ref, v_ref: [B, H, M, d]; moments: [M, c] functions of the reference
    position (a constant gives the mass, coordinates give the flow); log_strength is added to the
    reference logits (our design; 0 is the paper's). Returns out [B, H, N, d] and, if moments are
    given, sum_m A[n, m] moments[m] over the reference keys: [B, H, N, c].
    """
    own = q @ k.mT / math.sqrt(q.shape[-1])
    ref = q @ k_ref.mT / math.sqrt(q.shape[-1]) + log_strength
    a = torch.cat([own, ref], -1).softmax(-1)
    out = a @ torch.cat([v, v_ref], -2)
    return out, None if moments is None else a[..., k.shape[-2] :] @ moments


def flow_of_attention(q: Tensor, k_ref: Tensor, coordinates: Tensor, tau: float = 1.0) -> Tensor:
    """Expected reference coordinates of each query (Leffa, section 3.2).

    A = softmax(Q K_ref^T / (sqrt(d) tau)) over the reference keys only, mean over heads, times
    the coordinates. q: [B, H, N, d]; k_ref: [B, H, M, d]; coordinates: [M, 2]. Returns [B, N, 2].
    """
    a = (q @ k_ref.mT / (math.sqrt(q.shape[-1]) * tau)).softmax(-1).mean(1)
    return a @ coordinates
