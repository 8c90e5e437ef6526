"""The networks of a person model's file, as diffusers' modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from . import prompts
from .inpaint import CROP
from .patches import PatchAutoencoder
from .text import TextEncoder, WordTokenizer, make_text
from .unet import SiteUNet
from .weights import PersonWeights


@dataclass(frozen=True)
class Autoencoder:
    """The VAE on the embedded engine's wires, called as ComfyUI's.

    to_latent: [B, 3, H, W], -1..1, to [B, C, h, w]; to_picture: back; downscale: H / h. multiple:
    what pictures are cropped to.
    """

    to_latent: Callable[[Tensor], Tensor]
    to_picture: Callable[[Tensor], Tensor]
    downscale: int
    multiple: int

    def encode(self, image: Tensor) -> Tensor:
        """[B, H, W, 3] 0..1 -> [B, C, h, w]; H, W cropped to multiples of `multiple`, centred."""
        f = self.multiple
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


@dataclass(frozen=True)
class Clip:
    """The CLIP on the embedded engine's wires, called as ComfyUI's.

    learned: words like <new1> and the embeddings [width] that they stand for.
    """

    tokenizer: WordTokenizer
    encoder: TextEncoder
    learned: Mapping[str, Tensor] = field(default_factory=dict)

    def tokenize(self, text: str) -> dict[str, list[list[prompts.Token]]]:
        """What is not known or does not fit is told in the log."""
        return {"words": [prompts.tokens(self.tokenizer, text, self.learned)]}

    def encode_from_tokens_scheduled(self, tokens: dict[str, Any]) -> list[list[Any]]:
        """CONDITIONING: [[text [1, L, C], {}]]."""
        return [[prompts.encode(self.encoder, tokens["words"]), {"pooled_output": None}]]


def knows_words(clip: Clip) -> bool:
    """Whether a learned word has a place in this CLIP: here it always has."""
    return isinstance(clip, Clip)


def with_words(clip: Clip, learned: Mapping[str, Tensor]) -> Clip:
    """A CLIP that knows more words; the one given is left as it was."""
    return replace(clip, learned={**clip.learned, **learned})


def places(clip: Clip, prompt: str, phrase: str) -> list[tuple[int, ...]]:
    """Where a word, or a few in a row, stands in the text [1, L, width] that the CLIP makes of a
    prompt: the positions of every occurrence.
    """
    return prompts.places(clip.tokenizer, prompt, phrase)


def clip(stored: PersonWeights) -> Clip:
    """The text encoder, in float32. Raises RuntimeError when weights and configuration differ."""
    tokenizer, encoder = make_text(stored.config["text"])
    return Clip(tokenizer, _filled(encoder, stored, "text"))


def unet(stored: PersonWeights, room: str, text_free: bool = True) -> SiteUNet:
    """One of the UNets, in float32. Raises RuntimeError when weights and config differ."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel(**stored.config[room])
    return SiteUNet(_filled(network, stored, room), text_free)


def autoencoder(stored: PersonWeights) -> Autoencoder:
    """The tiny family's patch autoencoder or a published AutoencoderKL, in float32.

    Raises RuntimeError when weights and configuration differ.
    """
    config, downscale = stored.config["vae"], stored.config["downscale"]
    multiple = CROP if "text" in stored.config else downscale
    if "patch" in config:
        network = _filled(PatchAutoencoder(**config), stored, "vae")
        return Autoencoder(network.encode, network.decode, network.patch, multiple)
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        network = AutoencoderKL(**config)
    network = _filled(network, stored, "vae")
    return Autoencoder(
        lambda x: network.encode(x).latent_dist.mode(),
        lambda latent: network.decode(latent).sample,
        downscale,
        multiple,
    )


def _filled(network: nn.Module, stored: PersonWeights, room: str) -> nn.Module:
    tensors = {name: t.float() for name, t in stored.tensors[room].items()}
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).train(False)
