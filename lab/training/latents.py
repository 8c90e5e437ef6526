"""Latents of rendered pictures, computed once per shard and kept beside the training run."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...methods.person import latent_mask
from .data import garment_region, pick, pictures

BATCH = 32


@dataclass
class LatentCache:
    """Per shard: latent and masked [n, 4, C, h, w] (scaled), mask [n, 4, 1, h, w].

    masked is the latent of the picture whose garment region is grey; the region is drawn once per
    picture. vae must be frozen; a folder belongs to one autoencoder.
    """

    folder: Path
    vae: nn.Module
    scale: float
    shards: list[dict[str, Tensor]] = field(default_factory=list)

    def extend(self, fresh: list[dict[str, Tensor]]) -> None:
        """Adds the latents of shards just read, from the folder or by encoding them."""
        for shard in fresh:
            path = Path(self.folder) / f"latents_{len(self.shards):05d}.safetensors"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".partial")
                save_file(self._encode(shard, len(self.shards)), partial)
                partial.replace(path)
            self.shards.append(load_file(path))

    @torch.no_grad()
    def _encode(self, shard: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        images = shard["image"].flatten(0, 1)
        generator = torch.Generator().manual_seed(number)
        out: dict[str, list[Tensor]] = {"latent": [], "masked": [], "mask": []}
        for i in range(0, len(images), BATCH):
            x = pictures(images[i : i + BATCH])
            label = shard["label"].flatten(0, 1)[i : i + BATCH]
            dense = shard["dense_pose"].flatten(0, 1)[i : i + BATCH]
            region = garment_region(label, dense, generator)
            latent = self.encode(x)
            mask = latent_mask(region, latent.shape[-2:])
            masked = self.encode(x * (1 - region.unsqueeze(1))) * (1 - mask)
            for key, value in (("latent", latent), ("masked", masked), ("mask", mask)):
                out[key].append(value.half())
        sets = len(shard["image"])
        return {key: torch.cat(v).unflatten(0, (sets, -1)) for key, v in out.items()}

    def encode(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -1..1 -> scaled latents [B, C, h, w]."""
        return self.vae.encode(x).latent_dist.mode() * self.scale

    def gather(self, key: str, sets: Tensor, which: Tensor) -> Tensor:
        """The `which`-th entry of each set, [B, ., h, w]."""
        return pick(self.shards, key, sets, which).float()
