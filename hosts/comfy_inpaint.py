"""An inpainting model with a text encoder as ComfyUI's own MODEL, CLIP and VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.conds
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

from . import comfy_text, comfy_unet, weights
from .comfy_weights import CONFIG, PersonFamily, PersonNetwork, PersonVAE, misfits_named
from .inpaint import CROP, check_text, concat_of


def load(path: Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Reads an inpainting model's file. Raises ValueError when it is not one."""
    with torch.inference_mode(False), misfits_named(path):
        stored = weights.read_inpaint(path)
        return inpaint_model(stored), comfy_text.clip(stored), InpaintVAE(stored)


def inpaint_model(stored: weights.PersonWeights) -> comfy.model_patcher.ModelPatcher:
    """The UNet in ComfyUI's key names, managed by ComfyUI."""
    load_device = comfy.model_management.get_torch_device()
    model = InpaintNetwork(PersonFamily(stored, "unet", load_device))
    network = model.diffusion_model
    comfy_unet.set_heads(network, stored.config["unet"])
    shape = model.model_config.unet_config
    comfy_unet.load(network, shape, stored.tensors["unet"], text_free=False)
    model.requires_grad_(False)
    offload_device = comfy.model_management.unet_offload_device()
    patcher = comfy.model_patcher.ModelPatcher(model, load_device, offload_device)
    patcher.set_attachments(CONFIG, stored.config)
    return patcher


class InpaintNetwork(PersonNetwork):
    """ComfyUI's model around the UNet, told of picture and mask as its inpainting models are."""

    def __init__(self, family: PersonFamily) -> None:
        super().__init__(family)
        self.set_inpaint()

    def concat_cond(self, **given: Any) -> Tensor:
        """Mask and masked picture by the rule of training, see `inpaint.concat_of`."""
        scale = self.latent_format.scale_factor
        return concat_of(given, given["noise"].shape, scale).to(given["device"])

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """Raises ValueError for conditioning that lacks the picture, or of another text encoder."""
        width = self.model_config.unet_config["context_dim"]
        text = check_text(given["cross_attn"], width)
        return {
            "c_concat": comfy.conds.CONDNoiseShape(self.concat_cond(**given)),
            "c_crossattn": comfy.conds.CONDCrossAttn(text),
        }


class InpaintVAE(PersonVAE):
    """Crops pictures as InpaintModelConditioning does, so that all its latents are of one size."""

    def vae_encode_crop_pixels(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[1:3]
        if min(height, width) < CROP:
            raise ValueError(
                f"The picture is {width}x{height} pixels; the autoencoder needs at least "
                f"{CROP}x{CROP}."
            )
        for dim, size in ((1, height), (2, width)):
            pixels = pixels.narrow(dim, size % CROP // 2, size // CROP * CROP)
        return super().vae_encode_crop_pixels(pixels)
