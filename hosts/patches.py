"""The tiny family's autoencoder: a linear code of 4x4 patches and a convolutional decoder.

Our design: a projection on the principal components of patches costs nothing, sees nothing beyond
its own patch (so a masked picture's latent cannot leak what is masked), and starts where a learned
convolutional encoder of this size arrives after many minutes. The decoder adds to the linear
reconstruction what the neighbouring patches tell.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchAutoencoder(nn.Module):
    """encode [B, 3, H, W] -1..1 -> [B, C, H / patch, W / patch]; decode goes back.

    latent_channels, patch, width, blocks: as in the file's configuration. operations: where the
    layers come from, PyTorch or the host.
    """

    def __init__(
        self, latent_channels: int, patch: int, width: int, blocks: int, operations: Any = nn
    ) -> None:
        super().__init__()
        self.patch = patch
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

    def encode(self, x: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(x, self.patch).movedim(1, -1)
        return ((patches - self.mean) @ self.analysis.mT).movedim(-1, 1)

    def decode(self, z: Tensor) -> Tensor:
        linear = z.movedim(1, -1) @ self.synthesis.mT + self.mean
        h = self.enter(z)
        for block in self.blocks:
            h = h + block(F.silu(h))
        return F.pixel_shuffle(linear.movedim(-1, 1) + self.leave(F.silu(h)), self.patch)
