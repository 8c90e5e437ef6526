"""From face embeddings to the identity tokens that parallel visual attention looks at."""

from typing import Any

import torch
from torch import Tensor, nn

from ..kernels import attention


class IdentityEncoder(nn.Module):
    """PVA's identity transformer (arXiv 2312.03556, section 3.2): learned queries read any number
    of face vectors; what becomes of the queries, plus a learned term, are the tokens.

    dimension: of the face vectors; width: of the model's text tokens, heads must divide it.
    operations: where the layers come from, PyTorch or the host. The term starts at zero.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        queries: int = 10,
        layers: int = 4,
        heads: int = 4,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.enter = operations.Linear(dimension, width)
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(layers)
        )
        self.term = nn.Parameter(torch.zeros(queries, width))

    def forward(self, vectors: Tensor, present: Tensor | None = None) -> Tensor:
        """vectors [B, R, D]; present [B, R], False for places without a picture, None: all there.

        Returns [B, queries, width].
        """
        queries = self.queries.expand(len(vectors), -1, -1)
        x = torch.cat([queries, self.enter(vectors)], 1)
        absent = None
        if present is not None:
            absent = torch.cat([present.new_zeros(queries.shape[:2]), ~present], 1)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=absent)
        return x[:, : len(self.queries)] + self.term


class Resampler(nn.Module):
    """IP-Adapter's projection of image tokens ("plus" files, arXiv 2308.06721): learned latents
    read the picture's tokens in a few layers.

    The names of the parameters are those of the published files. width: of the latents inside,
    inner: of their attention; dimension: of the image tokens; out: of the model's text tokens.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        inner: int,
        out: int,
        latents: int,
        depth: int,
        head_dim: int = 64,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.heads = inner // head_dim
        self.latents = nn.Parameter(torch.zeros(1, latents, width))
        self.proj_in = operations.Linear(dimension, width)
        self.proj_out = operations.Linear(width, out)
        self.norm_out = operations.LayerNorm(out)
        self.layers = nn.ModuleList(
            nn.ModuleList([_Reading(width, inner, operations), _feed_forward(width, operations)])
            for _ in range(depth)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, T, dimension] -> [B, latents, out]."""
        latents = self.latents.expand(len(tokens), -1, -1)
        x = self.proj_in(tokens)
        for read, think in self.layers:
            latents = latents + read(x, latents, self.heads)
            latents = latents + think(latents)
        return self.norm_out(self.proj_out(latents))


class _Reading(nn.Module):
    """Latents attend to the picture's tokens and to each other."""

    def __init__(self, width: int, inner: int, operations: Any) -> None:
        super().__init__()
        self.norm1 = operations.LayerNorm(width)
        self.norm2 = operations.LayerNorm(width)
        self.to_q = operations.Linear(width, inner, bias=False)
        self.to_kv = operations.Linear(width, 2 * inner, bias=False)
        self.to_out = operations.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, latents: Tensor, heads: int) -> Tensor:
        latents = self.norm2(latents)
        keys, values = self.to_kv(torch.cat([self.norm1(x), latents], 1)).chunk(2, -1)
        q, k, v = (
            t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (self.to_q(latents), keys, values)
        )
        return self.to_out(attention(q, k, v).transpose(1, 2).flatten(2))


def _feed_forward(width: int, operations: Any) -> nn.Sequential:
    return nn.Sequential(
        operations.LayerNorm(width),
        operations.Linear(width, 4 * width, bias=False),
        nn.GELU(),
        operations.Linear(4 * width, width, bias=False),
    )
