"""The flow for the loss on a CPU: the attention map in blocks that fit the cache, never whole.

With two coordinates instead of values as wide as the queries, a fused attention call does two to
three times the needed work; here a block of the map is made, used and overwritten.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**20
"""Numbers in a block of the map: 4 MiB in fp32."""


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


def _blocks(maps: int, n: int, m: int):
    """(maps, queries) slices that cover [maps, n], of at most about BLOCK entries each."""
    group = max(1, min(maps, BLOCK // (n * m)))
    rows = n if group > 1 else max(1, min(n, BLOCK // m))
    for i in range(0, maps, group):
        for j in range(0, n, rows):
            yield slice(i, i + group), slice(j, min(j + rows, n))


class _Map:
    """Blocks of the attention map [B H, N, M] of (q, k), made in one buffer."""

    def __init__(self, q: Tensor, k: Tensor, scale: float, key_mask: Tensor | None) -> None:
        self.wide = torch.promote_types(q.dtype, torch.float32)
        self.q, self.k = (t.flatten(0, 1).to(self.wide) for t in (q, k))
        self.k_scaled = (self.k * scale).mT.contiguous()
        self.hidden = self.empty = None
        if key_mask is not None:
            self.hidden = ~key_mask.repeat_interleave(q.shape[1], 0)[:, None]
            self.empty = self.hidden.all(-1, keepdim=True)
        self.shape = (len(self.q), self.q.shape[1], self.k.shape[1])
        self.buffer = self.q.new_empty(0)

    def space(self, buffer: Tensor, where: tuple[slice, slice]) -> Tensor:
        """A block's shape in a buffer that grows when it has to and is used again."""
        maps, rows = (len(range(s.stop)[s]) for s in where)
        maps = min(maps, self.shape[0] - where[0].start)
        shape = (maps, rows, self.shape[2])
        return buffer.resize_(max(buffer.numel(), math.prod(shape)))[: math.prod(shape)].view(shape)

    def block(self, where: tuple[slice, slice]) -> Tensor:
        maps, _ = where
        a = self.space(self.buffer, where)
        torch.bmm(self.q[where], self.k_scaled[maps], out=a)
        if self.hidden is not None:
            a.masked_fill_(self.hidden[maps], torch.finfo(a.dtype).min)
        torch._softmax(a, -1, False, out=a)
        if self.hidden is not None:
            a.masked_fill_(self.empty[maps], 0)
        return a


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
        maps = _Map(q, k, scale, key_mask)
        table = coordinates.to(maps.wide)
        out = maps.q.new_empty(*maps.shape[:2], 2)
        for where in _blocks(*maps.shape):
            out[where] = maps.block(where) @ table
        ctx.save_for_backward(q, k, coordinates, key_mask, out)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """dS = A (dF C^T - dF . F), once more block by block."""
        q, k, coordinates, key_mask, out = ctx.saved_tensors
        maps = _Map(q, k, ctx.scale, key_mask)
        weights = torch.cat([grad, -(grad * out).sum(-1, keepdim=True)], -1)
        ones = coordinates.new_ones(len(coordinates), 1)
        table = torch.cat([coordinates, ones], 1).to(maps.wide).T.contiguous()
        dq, dk = torch.empty_like(maps.q), torch.zeros_like(maps.k.mT)
        buffer = maps.q.new_empty(0)
        for where in _blocks(*maps.shape):
            share = maps.space(buffer, where)
            torch.matmul(weights[where], table, out=share)
            ds = share.mul_(maps.block(where))
            torch.bmm(ds, maps.k[where[0]], out=dq[where])
            dk[where[0]].baddbmm_(maps.q[where].mT, ds)
        dq, dk = dq.mul_(ctx.scale), dk.mT * ctx.scale
        return dq.view(q.shape).to(q.dtype), dk.view(k.shape).to(k.dtype), None, None, None
