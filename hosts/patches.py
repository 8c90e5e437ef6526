"""The tiny family's autoencoder: a linear code of 4x4 patches and a convolutional decoder.

Our design: a projection on the principal components of patches costs nothing, sees nothing beyond
its own patch (so a masked picture's latent cannot leak what is masked), and starts where a learned
convolutional encoder of this size arrives after many minutes. The decoder adds to the linear
reconstruction what the neighbouring patches tell. A tone curve before the code gives dark skin the
contrast of bright skin: without it the eyes of dark faces drowned in the sampler's noise.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchAutoencoder(nn.Module):
    """encode [B, 3, H, W] -1..1 -> [B, C, H / patch, W / patch]; decode goes back.

    latent_channels, patch, width, blocks, tone: as in the file's configuration. tone: how much more
    the curve log(1 + tone * light) lifts shadows, > 0; 0 is no curve. operations: where the layers
    come from, PyTorch or the host.
    """

    def __init__(
        self,
        latent_channels: int,
        patch: int,
        width: int,
        blocks: int,
        tone: float = 0.0,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.patch, self.tone = patch, tone
        values = 3 * patch * patch
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("analysis", torch.zeros(latent_channels, values))
        self.register_buffer("synthesis", torch.zeros(values, latent_channels))
        self.enter = operations.Conv2d(latent_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                operations.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
                operations.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.leave = operations.Conv2d(width, values, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def toned(self, x: Tensor) -> Tensor:
        """A picture -1..1 on the tone curve, which keeps both ends."""
        if not self.tone:
            return x
        light = ((x + 1) / 2).clamp(min=0)
        return torch.log1p(self.tone * light) / math.log1p(self.tone) * 2 - 1

    def untoned(self, y: Tensor) -> Tensor:
        """Back from the curve."""
        if not self.tone:
            return y
        return torch.expm1((y + 1) / 2 * math.log1p(self.tone)) / self.tone * 2 - 1

    def encode(self, x: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(self.toned(x), self.patch).movedim(1, -1)
        return ((patches - self.mean) @ self.analysis.mT).movedim(-1, 1)

    def decode(self, z: Tensor) -> Tensor:
        return self.untoned(self.decode_toned(z))

    def decode_toned(self, z: Tensor) -> Tensor:
        """The picture still on the curve, [B, 3, H, W]."""
        linear = z.movedim(1, -1) @ self.synthesis.mT + self.mean
        h = self.enter(z)
        for block in self.blocks:
            h = h + block(F.silu(h))
        return F.pixel_shuffle(linear.movedim(-1, 1) + self.leave(F.silu(h)), self.patch)
