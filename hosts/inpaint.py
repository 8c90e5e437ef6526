"""What an inpainting model with a text encoder is told beside the noise; the same on both hosts.

The wire is ComfyUI's: InpaintModelConditioning puts `concat_latent_image` and `concat_mask` beside
the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..methods.person import latent_mask

CROP = 8  # what InpaintModelConditioning crops pictures to, whatever the autoencoder's downscale


def concat_of(given: Mapping[str, Any], shape: Sequence[int], scale: float) -> Tensor:
    """The channels beside the noisy latent [B, 1 + C, h, w]: mask, latent of the masked picture.

    given: a conditioning's entries; `concat_latent_image` [1 or more, C, h, w] as the autoencoder
    makes it, `concat_mask` [1 or more, 1, H, W] of the picture. shape: (B, C, h, w) of the latent
    that is sampled. The mask is rounded as InpaintModelConditioning rounds it when it greys the
    picture; a cell of which it touches any pixel is 1, as in training (ComfyUI's own models look
    at a few pixels of every cell). Raises ValueError for what does not fit.
    """
    picture, mask = given.get("concat_latent_image"), given.get("concat_mask")
    if picture is None or mask is None:
        raise ValueError(
            "This inpainting model wants to know what is to be painted, and the conditioning "
            "brings text alone. Put InpaintModelConditioning between CLIP Text Encode and the "
            "sampler (positive, negative and latent), with the VAE of Load Inpaint Model."
        )
    rows, channels, h, w = shape
    if picture.shape[1] != channels:
        raise ValueError(
            f"Expected a picture encoded to {channels} channels; got {picture.shape[1]}. Connect "
            "the VAE of Load Inpaint Model to InpaintModelConditioning."
        )
    if tuple(picture.shape[2:]) != (h, w):
        raise ValueError(
            f"Expected a latent of {picture.shape[-1]}x{picture.shape[-2]} cells, as the picture "
            f"of the conditioning; got {w}x{h}. Connect the latent of the same "
            "InpaintModelConditioning."
        )
    cells = latent_mask(mask.reshape(-1, *mask.shape[-2:]).float().round(), (h, w))
    parts = [as_many(cells.to(picture), rows, "masks"), as_many(picture * scale, rows, "pictures")]
    return torch.cat(parts, 1)


def same_length(texts: Sequence[Tensor]) -> list[Tensor]:
    """Texts [B, L, C] of one length: repeating all tokens equally often changes no attention."""
    length = math.lcm(*(text.shape[1] for text in texts))
    return [text.repeat(1, length // text.shape[1], 1) for text in texts]


def check_text(text: Tensor, width: int) -> Tensor:
    """The text [B, L, width]. Raises ValueError when another text encoder made it."""
    if text.ndim != 3 or text.shape[-1] != width:
        raise ValueError(
            f"Expected text of {width} values per token; got {text.shape[-1]}. Connect the CLIP "
            "that came with the model to CLIP Text Encode."
        )
    return text


def as_many(x: Tensor, rows: int, name: str) -> Tensor:
    """As many rows as the latent has: repeated in turn, as RepeatLatentBatch does."""
    if rows % len(x):
        raise ValueError(
            f"The conditioning holds {len(x)} {name} and the latent {rows}: expected the same "
            "number, or one for all."
        )
    return x.repeat(rows // len(x), *[1] * (x.ndim - 1))
