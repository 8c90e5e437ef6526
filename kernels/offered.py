"""A host's own attention, for calls that ask for nothing which it cannot do.

A user who chose sage, flash or xformers attention in ComfyUI gets it here too. Kernels know no
host: the host hands in its function.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .backends import REGISTRY
from .eager import Masks, Source
from .registry import Backend, Operations, Request

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def offer(name: str, attention: Attention) -> None:
    """Makes attention(q, k, v), all [B, H, N or M, d], the first choice under a backend's name."""
    REGISTRY.add(
        Backend(name, "the host's own attention", _refuses, lambda: _operations(attention), True),
        first=True,
    )


def _refuses(request: Request) -> str | None:
    if request.operation == "flow_of_attention":
        return "values are coordinates, not as wide as queries"
    if request.extras:
        return f"plain attention only, not {', '.join(sorted(request.extras))}"
    if request.widths[0] != request.widths[1]:
        return f"needs queries and values of one width, not {request.widths}"
    return None


def _operations(attention: Attention) -> Operations:
    def joint(sources: Sequence[Source], temperature: float = 1.0, masks: Masks = None) -> Tensor:
        keys, values = (torch.cat(t, -2) for t in zip(*(s[1:] for s in sources), strict=True))
        return attention(sources[0][0], keys, values)

    def reference(q: Tensor, k: Tensor, v: Tensor, k_ref: Tensor, v_ref: Tensor, *unused: object):
        return joint([(q, k, v), (q, k_ref, v_ref)]), None

    def mixture(experts: Sequence[Source], weights: Tensor, *unused: object) -> Tensor:
        shares = weights[:, None].unbind(-1)
        return sum(w[..., None] * attention(*e) for w, e in zip(shares, experts, strict=True))

    return {
        "joint_attention": joint,
        "reference_attention": reference,
        "mixture_attention": mixture,
    }
