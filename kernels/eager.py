"""The readable definitions. Every other backend is compared to these.

Shapes throughout: q [B, H, N, d]; k [B, H, M, d]; v [B, H, M, e]; a key mask [B, M] (True: may be
seen). B and H are the same everywhere, N the same in every source, M may differ, e is mostly d.
A source whose keys are all hidden contributes nothing.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Source = tuple[Tensor, Tensor, Tensor]
Masks = Sequence[Tensor | None] | None


def logits(q: Tensor, k: Tensor, temperature: float = 1.0) -> Tensor:
    """Q K^T / (sqrt(d) tau), [B, H, N, M]."""
    return q @ k.mT / (math.sqrt(q.shape[-1]) * temperature)


def softmax(scores: Tensor, key_mask: Tensor | None) -> Tensor:
    """Over the last dimension, the hidden keys left out; all zero where every key is hidden."""
    if key_mask is None:
        return scores.softmax(-1)
    seen = key_mask[:, None, None]
    return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) * seen


def together(sources: Sequence[Source], key_masks: Masks) -> Tensor | None:
    """The masks of all sources side by side, [B, sum M]; None where nothing is hidden."""
    if key_masks is None or all(mask is None for mask in key_masks):
        return None
    whole = [k.new_ones(k.shape[0], k.shape[2], dtype=torch.bool) for _, k, _ in sources]
    return torch.cat([w if m is None else m for w, m in zip(whole, key_masks, strict=True)], -1)


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
    """One softmax over own and reference keys (Leffa, section 3.1), with optional moments.

    moments [M, c]: functions of the reference position to average (a constant gives the mass,
    coordinates give the flow). log_strength: added to the reference's logits; one number, or one
    per reference key [B, M] (our design; 0 is the paper's). temperature divides all logits before
    that. key_mask [B, M] is of the reference keys; the own ones are always seen.
    Returns out [B, H, N, e] and, if moments are given, sum_m A[n, m] moments[m] over the reference
    keys: [B, H, N, c].
    """
    if isinstance(log_strength, Tensor):
        log_strength = log_strength[:, None, None]
    scores = [logits(q, k, temperature), logits(q, k_ref, temperature) + log_strength]
    seen = together([(q, k, v), (q, k_ref, v_ref)], [None, key_mask])
    a = softmax(torch.cat(scores, -1), seen)
    out = a @ torch.cat([v, v_ref], -2)
    return out, None if moments is None else a[..., k.shape[-2] :] @ moments


def joint_attention(
    sources: Sequence[Source], temperature: float = 1.0, key_masks: Masks = None
) -> Tensor:
    """One softmax over several sources, each with its own queries (PVA, section 3.2).

    softmax([Q_1 K_1^T, Q_2 K_2^T, ...] / (sqrt(d) tau)) [V_1; V_2; ...], with sources (q, k, v).
    Returns [B, H, N, e].
    """
    scores = torch.cat([logits(q, k, temperature) for q, k, _ in sources], -1)
    return softmax(scores, together(sources, key_masks)) @ torch.cat([v for *_, v in sources], -2)


def mixture_attention(
    experts: Sequence[Source],
    weights: Tensor,
    temperature: float = 1.0,
    key_masks: Masks = None,
) -> Tensor:
    """sum_e w_e(query) attention_e (MoA, section 3.2): a softmax of its own for every expert.

    experts: (q, k, v) each; weights [B, N, E], the router's. Returns [B, H, N, e].
    """
    masks = key_masks or [None] * len(experts)
    return sum(
        weights[:, None, :, i, None] * (softmax(logits(q, k, temperature), masks[i]) @ v)
        for i, (q, k, v) in enumerate(experts)
    )


def flow_of_attention(
    q: Tensor,
    k_ref: Tensor,
    coordinates: Tensor,
    tau: float = 1.0,
    key_mask: Tensor | None = None,
) -> Tensor:
    """Expected reference coordinates of each query (Leffa, section 3.2).

    A = softmax(Q K_ref^T / (sqrt(d) tau)) over the reference keys only, mean over heads, times
    the coordinates [M, 2]. Returns [B, N, 2].
    """
    return softmax(logits(q, k_ref, tau), key_mask).mean(1) @ coordinates
