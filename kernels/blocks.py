"""The flow for the loss on a CPU: the attention map in blocks that fit the cache, never whole.

With two coordinates instead of values as wide as the queries, a fused attention call does two to
three times the needed work; here a block of the map is made, used and overwritten. As many maps as
torch has threads go side by side, so that every thread works on a map of its own: one product
shared by threads costs several times as much when it is this narrow.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK, COLUMNS = 2**18, 512
"""Numbers in a block of one map, a MiB in fp32, and how many keys it spans: two blocks and
their keys fit a core's second-level cache.
"""
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
        self.q, self.k = (t.flatten(0, 1).to(self.wide) for t in (q, k))
        self.count, self.n, self.m = len(self.q), q.shape[2], k.shape[2]
        self.scale = scale
        self.hidden = None
        if key_mask is not None:
            self.hidden = (~key_mask).repeat_interleave(q.shape[1], 0)[:, None]
        self.bound = self.q.norm(dim=-1) * self.k.norm(dim=-1).amax(-1, keepdim=True) * scale
        self.steep = self.bound.amax(-1).gt(STEEP).tolist()
        self.beside = max(1, min(self.count, torch.get_num_threads()))
        self.buffer = self.space()

    def space(self) -> Tensor:
        """Room for a block of all the maps that go side by side."""
        return self.q.new_empty(self.beside * max(BLOCK, self.m))

    def blocks(self, shift: Tensor, search: bool) -> Iterator[tuple[slice, slice, slice, Tensor]]:
        """(maps, rows, columns, exp(logits - shift)); the last is overwritten by the next.

        shift [B H, N]; search: of steep maps it is ignored and becomes the rows' largest logit.
        """
        for first in range(0, self.count, self.beside):
            maps = slice(first, min(first + self.beside, self.count))
            steep = any(self.steep[maps])
            find = search and steep
            if find:
                shift[maps] = 0
            q = torch.cat([self.q[maps], -shift[maps, :, None]], -1)
            width = self.m if find else COLUMNS
            for columns in _slices(self.m, width):
                k = self.k[maps, columns]
                k = torch.cat([k.mT * self.scale, torch.ones_like(k[:, :, :1].mT)], 1)
                hidden = None if self.hidden is None else self.hidden[maps, :, columns]
                for rows in _slices(self.n, max(1, BLOCK // k.shape[2])):
                    a = _part(self.buffer, len(q), rows, columns)
                    torch.bmm(q[:, rows].contiguous(), k, out=a)
                    if find:
                        if hidden is not None:
                            a.masked_fill_(hidden, torch.finfo(a.dtype).min)
                        shift[maps, rows] = a.amax(-1)
                        a.sub_(shift[maps, rows, None])
                    if steep:
                        a.clamp_(min=LEAST)
                    a.exp_()
                    if hidden is not None:
                        a.masked_fill_(hidden, 0)
                    yield maps, rows, columns, a


def _part(space: Tensor, maps: int, rows: slice, columns: slice) -> Tensor:
    """The beginning of a space as a block [maps, rows, columns]."""
    shape = maps, rows.stop - rows.start, columns.stop - columns.start
    return space[: math.prod(shape)].view(shape)


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


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
        sums, shift = maps.q.new_zeros(maps.count, maps.n, 3), maps.bound.clone()
        for some, rows, columns, a in maps.blocks(shift, search=True):
            sums[some, rows] += torch.bmm(a, table[columns].expand(len(a), -1, -1))
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
        dq, dk = torch.zeros_like(maps.q), torch.zeros_like(maps.k.mT.contiguous())
        space = maps.space()
        for some, rows, columns, a in maps.blocks(log_sum, search=False):
            ds = _part(space, len(a), rows, columns)
            torch.bmm(weights[some, rows], table[:, columns].expand(len(a), -1, -1), out=ds)
            ds.mul_(a)
            dq[some, rows] += torch.bmm(ds, maps.k[some, columns])
            dk[some, :, columns].baddbmm_(maps.q[some, rows].mT, ds)
        dq, dk = dq.mul_(ctx.scale), dk.mT * ctx.scale
        return dq.view(q.shape).to(q.dtype), dk.reshape(k.shape).to(k.dtype), None, None, None
