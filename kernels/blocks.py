"""The flow for the loss on a CPU: the attention map in blocks that fit the cache, never whole.

With two coordinates instead of values as wide as the queries, a fused attention call does two to
three times the needed work; here a block of the map is made, used and overwritten.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**22
"""Numbers in a block of the map: 16 MiB in fp32."""
STEEP, LEAST = 35.0, -80.0
"""Logits within +-STEEP need no search for the largest. No logit below LEAST under the largest is
told from it: its exponential would be a denormal number, which processors are slow with.
"""


def flow_of_attention(
    q: Tensor,
    k_ref: Tensor,
    coordinates: Tensor,
    tau: float = 1.0,
    key_mask: Tensor | None = None,
) -> Tensor:
    """See `eager.flow_of_attention`; coordinates are constants."""
    scale = 1 / (math.sqrt(q.shape[-1]) * tau)
    flow = _Flow.apply(q, k_ref, coordinates, scale, key_mask)
    return flow.unflatten(0, q.shape[:2]).mean(1).to(q.dtype)


class _Maps:
    """Blocks of exp(logits - shift) of the maps [B H, N, M] of (q, k), in fp32 or fp64.

    The shift is an extra channel of the product. No row's largest logit is searched for where
    |q| max |k| tells that nothing can over- or underflow (`steep` is False).
    """

    def __init__(self, q: Tensor, k: Tensor, scale: float, key_mask: Tensor | None) -> None:
        self.wide = torch.promote_types(q.dtype, torch.float32)
        self.heads = q.shape[1]
        self.q, self.k = (t.flatten(0, 1).to(self.wide) for t in (q, k))
        self.count, self.n, self.m = len(self.q), q.shape[2], k.shape[2]
        self.k_scaled = torch.cat([self.k * scale, self.k.new_ones(self.count, self.m, 1)], -1).mT
        self.hidden = None if key_mask is None else ~key_mask
        self.bound = self.q.norm(dim=-1) * self.k.norm(dim=-1).amax(-1, keepdim=True) * scale
        self.steep = self.bound.amax(-1).gt(STEEP).tolist()
        self.buffer = self.space()

    def space(self) -> Tensor:
        return self.q.new_empty(min(self.n, max(1, BLOCK // self.m)), self.m)

    def blocks(self, shift: Tensor, search: bool) -> Iterator[tuple[int, slice, Tensor]]:
        """(map, rows, exp(logits - shift) [rows, M]); the last is overwritten by the next.

        shift [B H, N]; search: of steep maps it is ignored and becomes the rows' largest logit.
        """
        for i in range(self.count):
            find = search and self.steep[i]
            if find:
                shift[i] = 0
            q = torch.cat([self.q[i], -shift[i, :, None]], -1)
            k = self.k_scaled[i].contiguous()
            hidden = None if self.hidden is None else self.hidden[i // self.heads]
            for start in range(0, self.n, len(self.buffer)):
                rows = slice(start, min(start + len(self.buffer), self.n))
                a = torch.mm(q[rows], k, out=self.buffer[: rows.stop - rows.start])
                if find:
                    if hidden is not None:
                        a.masked_fill_(hidden, torch.finfo(a.dtype).min)
                    shift[i, rows] = a.amax(-1)
                    a.sub_(shift[i, rows, None])
                if self.steep[i]:
                    a.clamp_(min=LEAST)
                a.exp_()
                if hidden is not None:
                    a.masked_fill_(hidden, 0)
                yield i, rows, a


class _Flow(torch.autograd.Function):
    """Expected coordinates per head, [B H, N, 2]."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        coordinates: Tensor,
        scale: float,
        key_mask: Tensor | None,
    ) -> Tensor:
        maps = _Maps(q, k, scale, key_mask)
        table = torch.cat([coordinates, torch.ones_like(coordinates[:, :1])], 1).to(maps.wide)
        sums, shift = maps.q.new_empty(maps.count, maps.n, 3), maps.bound.clone()
        for i, rows, a in maps.blocks(shift, search=True):
            torch.mm(a, table, out=sums[i, rows])
        total = sums[..., 2].clamp_min(torch.finfo(maps.wide).tiny)
        out = sums[..., :2] / total[..., None]
        ctx.save_for_backward(q, k, coordinates, key_mask, out, shift + total.log())
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """dS = A (dF C^T - dF . F), once more block by block."""
        q, k, coordinates, key_mask, out, log_sum = ctx.saved_tensors
        maps = _Maps(q, k, ctx.scale, key_mask)
        weights = torch.cat([grad, -(grad * out).sum(-1, keepdim=True)], -1)
        ones = coordinates.new_ones(len(coordinates), 1)
        table = torch.cat([coordinates, ones], 1).to(maps.wide).mT.contiguous()
        dq, dk = torch.empty_like(maps.q), torch.zeros_like(maps.k.mT.contiguous())
        buffer = maps.space()
        for i, rows, a in maps.blocks(log_sum, search=False):
            ds = torch.mm(weights[i, rows], table, out=buffer[: len(a)]).mul_(a)
            torch.mm(ds, maps.k[i], out=dq[i, rows])
            dk[i].addmm_(maps.q[i, rows].mT, ds)
        dq, dk = dq.mul_(ctx.scale), dk.mT * ctx.scale
        return dq.view(q.shape).to(q.dtype), dk.reshape(k.shape).to(k.dtype), None, None, None
