"""The public functions: check the shapes, say what the call asks for, let the registry pick.

The equations, shapes and options are described once, in `eager`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .backends import REGISTRY
from .eager import Masks, Source
from .registry import Request


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V: plain attention, [B, H, N, e]."""
    return joint_attention([(q, k, v)])


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
    """See `eager.reference_attention`. Raises ValueError when shapes do not fit."""
    operation, sources = "reference_attention", [(q, k, v), (q, k_ref, v_ref)]
    _check(operation, sources, [None, key_mask], temperature)
    _expect_keys(operation, "k", k)
    extras, keys = set(), k_ref.shape[2]
    if moments is not None:
        _expect(operation, "moments", moments, (keys, moments.shape[-1]))
        moments = moments.to(q)
        extras.add("moments" if moments.shape[-1] <= 16 else "more than 16 moments")
    if isinstance(log_strength, Tensor):
        _expect(operation, "log_strength", log_strength, (len(q), keys))
        log_strength = log_strength.to(q)
        extras.add("strength per key")
    elif log_strength:
        extras.add("strength")
    if not keys:
        averages = None if moments is None else q.new_zeros(*q.shape[:3], moments.shape[-1])
        return joint_attention([(q, k, v)], temperature), averages
    request = _request(
        operation, sources, [key_mask], temperature, extras, tables=(moments, log_strength)
    )
    return REGISTRY.run(
        request, q, k, v, k_ref, v_ref, moments, log_strength, temperature, key_mask
    )


def joint_attention(
    sources: Sequence[Source], temperature: float = 1.0, key_masks: Masks = None
) -> Tensor:
    """See `eager.joint_attention`. Sources without keys are left out.

    Raises ValueError when shapes do not fit or no source has a key.
    """
    operation, masks = "joint_attention", list(key_masks or [None] * len(sources))
    _check(operation, sources, masks, temperature)
    kept = [i for i, (_, k, _) in enumerate(sources) if k.shape[2]]
    if not kept:
        raise ValueError(f"{operation}: expected a key in at least one source, got none.")
    sources, masks = [sources[i] for i in kept], [masks[i] for i in kept]
    own = {"queries of their own"} if any(q is not sources[0][0] for q, _, _ in sources) else set()
    request = _request(operation, sources, masks, temperature, own)
    return REGISTRY.run(request, sources, temperature, masks)


def mixture_attention(
    experts: Sequence[Source],
    weights: Tensor,
    temperature: float = 1.0,
    key_masks: Masks = None,
) -> Tensor:
    """See `eager.mixture_attention`. Raises ValueError when shapes do not fit."""
    operation, masks = "mixture_attention", list(key_masks or [None] * len(experts))
    _check(operation, experts, masks, temperature)
    for number, (_, k, _) in enumerate(experts):
        _expect_keys(operation, f"k of source {number}", k)
    q = experts[0][0]
    _expect(operation, "weights", weights, (q.shape[0], q.shape[2], len(experts)))
    request = _request(operation, experts, masks, temperature, weights=(weights,))
    return REGISTRY.run(request, experts, weights.to(q), temperature, masks)


def flow_of_attention(
    q: Tensor,
    k_ref: Tensor,
    coordinates: Tensor,
    tau: float = 1.0,
    key_mask: Tensor | None = None,
) -> Tensor:
    """See `eager.flow_of_attention`. Raises ValueError when shapes do not fit."""
    operation, sources = "flow_of_attention", [(q, k_ref, k_ref)]
    _check(operation, sources, [key_mask], tau)
    _expect_keys(operation, "k_ref", k_ref)
    _expect(operation, "coordinates", coordinates, (k_ref.shape[2], 2))
    request = _request(operation, sources, [key_mask], tau, tables=(coordinates,))
    return REGISTRY.run(request, q, k_ref, coordinates.to(q), tau, key_mask)


def _request(
    operation: str,
    sources: Sequence[Source],
    masks: Sequence[Tensor | None],
    temperature: float,
    extras: set[str] = frozenset(),
    tables: Sequence[object] = (),
    weights: Sequence[Tensor] = (),
) -> Request:
    """tables: what is shared by all queries; not every backend has its gradient."""
    q, _, v = sources[0]
    extras = set(extras)
    if temperature != 1:
        extras.add("temperature")
    if any(mask is not None for mask in masks):
        extras.add("mask")
    if torch.is_grad_enabled():
        table = any(isinstance(t, Tensor) and t.requires_grad for t in tables)
        if table:
            extras.add("gradient of a table")
        if table or any(t.requires_grad for t in (*weights, *(t for s in sources for t in s))):
            extras.add("gradient")
    return Request(
        operation,
        q.device,
        q.dtype,
        (q.shape[3], v.shape[3]),
        q.shape[2],
        tuple(k.shape[2] for _, k, _ in sources),
        frozenset(extras),
    )


def _check(
    operation: str,
    sources: Sequence[Source],
    masks: Sequence[Tensor | None],
    temperature: float,
) -> None:
    if not sources or len(masks) != len(sources):
        raise ValueError(
            f"{operation}: expected at least one (q, k, v) and one key mask (or None) each, got "
            f"{len(sources)} and {len(masks)}."
        )
    if not temperature > 0:
        raise ValueError(f"{operation}: expected a temperature above 0, got {temperature}.")
    first = sources[0][0]
    if first.dim() != 4:
        raise ValueError(f"{operation}: expected q [B, H, N, d], got {list(first.shape)}.")
    b, h, n, d = first.shape
    e = sources[0][2].shape[-1]
    for number, ((q, k, v), mask) in enumerate(zip(sources, masks, strict=True)):
        m = k.shape[-2]
        where = f" of source {number}" if len(sources) > 1 else ""
        _expect(operation, f"q{where}", q, (b, h, n, d))
        _expect(operation, f"k{where}", k, (b, h, m, d))
        _expect(operation, f"v{where}", v, (b, h, m, e))
        for name, t in (("q", q), ("k", k), ("v", v)):
            if t.dtype != first.dtype or t.device != first.device:
                raise ValueError(
                    f"{operation}: expected everything in {first.dtype} on {first.device} as the "
                    f"first q is, got {name}{where} in {t.dtype} on {t.device}. Convert it."
                )
        if mask is not None:
            _expect(operation, f"key mask{where}", mask, (b, m))
            if mask.dtype != torch.bool:
                raise ValueError(
                    f"{operation}: expected a boolean key mask{where}, got {mask.dtype}. Shares "
                    "between 0 and 1 go into log_strength of reference_attention, as logarithms."
                )


def _expect(operation: str, name: str, t: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(t.shape) != shape:
        raise ValueError(f"{operation}: expected {name} {list(shape)}, got {list(t.shape)}.")


def _expect_keys(operation: str, name: str, k: Tensor) -> None:
    if not k.shape[2]:
        raise ValueError(f"{operation}: expected at least one key, got {name} {list(k.shape)}.")
