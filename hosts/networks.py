"""The networks of a person model's file, as diffusers' modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .patches import PatchAutoencoder
from .unet import SiteUNet
from .weights import PersonWeights


@dataclass(frozen=True)
class Autoencoder:
    """The VAE on the embedded engine's wires, called as ComfyUI's.

    to_latent: [B, 3, H, W], -1..1, to [B, C, h, w]; to_picture: back; downscale: H / h.
    """

    to_latent: Callable[[Tensor], Tensor]
    to_picture: Callable[[Tensor], Tensor]
    downscale: int

    def encode(self, image: Tensor) -> Tensor:
        """[B, H, W, 3] 0..1 -> [B, C, H / f, W / f]; H, W cropped to multiples of f, centred."""
        f = self.downscale
        height, width = image.shape[1:3]
        h, w = height // f * f, width // f * f
        if not h or not w:
            raise ValueError(
                f"The picture is {width}x{height} pixels; the autoencoder needs at least {f}x{f}."
            )
        top, left = (height - h) // 2, (width - w) // 2
        return self.to_latent(image[:, top : top + h, left : left + w, :3].movedim(-1, 1) * 2 - 1)

    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, H, W, 3] 0..1."""
        return ((self.to_picture(latent) + 1) / 2).clamp(0, 1).movedim(1, -1)


def unet(stored: PersonWeights, room: str) -> SiteUNet:
    """One of the two UNets, in float32. Raises RuntimeError when weights and config differ."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel(**stored.config[room])
    return SiteUNet(_filled(network, stored, room))


def autoencoder(stored: PersonWeights) -> Autoencoder:
    """The tiny family's patch autoencoder or a published AutoencoderKL, in float32.

    Raises RuntimeError when weights and configuration differ.
    """
    config = stored.config["vae"]
    if "patch" in config:
        network = _filled(PatchAutoencoder(**config), stored, "vae")
        return Autoencoder(network.encode, network.decode, network.patch)
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        network = AutoencoderKL(**config)
    network = _filled(network, stored, "vae")
    return Autoencoder(
        lambda x: network.encode(x).latent_dist.mode(),
        lambda latent: network.decode(latent).sample,
        stored.config["downscale"],
    )


def _filled(network: nn.Module, stored: PersonWeights, room: str) -> nn.Module:
    tensors = {name: t.float() for name, t in stored.tensors[room].items()}
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).train(False)
