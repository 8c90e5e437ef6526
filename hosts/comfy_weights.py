"""A person model's file as ComfyUI's own objects: MODEL with its reference network, and VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.model_management import get_torch_device, unet_offload_device, vae_offload_device
from torch import Tensor, nn

from . import weights
from .patches import PatchAutoencoder

CONFIG = "mannequin_config"
REFERENCE = "mannequin_reference"
COMFY_GROUPS = 32

ModelPatcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)


def load_person_model(path: Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.VAE]:
    """Reads a person model's file; the reference network rides along as an additional model.

    Raises ValueError when the file is not a person model.
    """
    stored = weights.read(path)
    try:
        with torch.inference_mode(False):
            vae = PersonVAE(stored)
            model = unet_patcher(stored, "unet")
            model.set_additional_models(REFERENCE, [unet_patcher(stored, "unet_encoder")])
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error
    model.set_attachments(CONFIG, stored.config)
    return model, vae


class PersonLatents(comfy.latent_formats.LatentFormat):
    """Latents as the person model's own autoencoder makes them.

    ComfyUI's preview while sampling shows the mean colour of every patch, which is linear in them.
    """

    def __init__(self, stored: weights.PersonWeights) -> None:
        config, vae = stored.config, stored.tensors["vae"]
        self.latent_channels = config["latent_channels"]
        self.scale_factor = config["latent_scale"]
        self.spacial_downscale_ratio = config["downscale"]
        colours = vae["synthesis"].unflatten(0, (3, -1)).mean(1) / self.scale_factor
        self.latent_rgb_factors = colours.T.tolist()
        self.latent_rgb_factors_bias = vae["mean"].unflatten(0, (3, -1)).mean(1).tolist()


class PersonVAE(comfy.sd.VAE):
    """ComfyUI's VAE around the tiny family's autoencoder, in float32 and always loaded whole."""

    def __init__(self, stored: weights.PersonWeights) -> None:
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
        network = PatchAutoencoder(**stored.config["vae"])
        network.load_state_dict(stored.tensors["vae"])
        self.first_stage_model = network.requires_grad_(False).train(False)
        self.patcher = comfy.model_patcher.ModelPatcher(
            network, load_device=self.device, offload_device=vae_offload_device()
        )
        self.disable_offload = True
        self.latent_channels = stored.config["latent_channels"]
        self.downscale_ratio = self.upscale_ratio = network.patch
        self.process_input = lambda image: image * 2 - 1
        self.process_output = lambda image: image.add_(1).div_(2).clamp_(0, 1)
        bytes_per_cell = 4 * 4 * network.enter.out_channels
        self.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * bytes_per_cell
        self.memory_used_encode = lambda shape, dtype: shape[2] * shape[3] * 4 * 3 * 4
        self.size = None
        self.model_size()


class PersonFamily(comfy.supported_models_base.BASE):
    """What ComfyUI wants to know of a model family.

    Self-attention over own and reference tokens takes about twice a plain model's memory.
    """

    unet_extra_config = {}  # noqa: RUF012
    memory_usage_factor = 2.0

    def __init__(self, unet_config: dict[str, Any], stored: weights.PersonWeights) -> None:
        super().__init__(unet_config)
        self.latent_format = PersonLatents(stored)
        self.sampling_settings = {"zsnr": stored.config["zero_terminal_snr"]}


class CleanPrediction(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    """A network that predicts x0 itself."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor):
        return model_output


class TextFree(nn.Module):
    """The cross-attention of a text-free model returns its input, as in the published code."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x


def comfy_unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """ComfyUI's arguments for a UNet2DConditionModel's configuration. Raises ValueError for
    shapes that ComfyUI's UNet cannot take.
    """
    widths = config["block_out_channels"]
    layers = config["layers_per_block"]
    down = [int(kind.startswith("CrossAttn")) for kind in config["down_block_types"]]
    up = [int(kind.startswith("CrossAttn")) for kind in reversed(config["up_block_types"])]
    heads = config["attention_head_dim"]
    if isinstance(heads, int):
        heads = [heads] * len(widths)
    per_head = {width // n for width, n in zip(widths, heads, strict=True)}
    if len(per_head) > 1 and len(set(heads)) > 1:
        raise ValueError(f"Expected equal heads or equal head widths; got {heads} for {widths}.")
    if widths[0] % COMFY_GROUPS or any(width % widths[0] for width in widths):
        raise ValueError(
            f"Expected widths that are multiples of the first and of {COMFY_GROUPS}; got {widths}."
        )
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths],
        "num_res_blocks": [layers] * len(widths),
        "transformer_depth": [n for n in down for _ in range(layers)],
        "transformer_depth_output": [n for n in up for _ in range(layers + 1)],
        "transformer_depth_middle": 1,
        "context_dim": config["cross_attention_dim"],
        "num_heads": heads[0] if len(per_head) > 1 else -1,
        "num_head_channels": -1 if len(per_head) > 1 else per_head.pop(),
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config.get("use_linear_projection", False),
        "use_checkpoint": False,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


def unet_patcher(stored: weights.PersonWeights, room: str) -> comfy.model_patcher.ModelPatcher:
    """One of the two UNets in ComfyUI's key names, managed by ComfyUI."""
    tensors = stored.tensors[room]
    load_device = get_torch_device()
    parameters = sum(t.numel() for t in tensors.values())
    dtype = comfy.model_management.unet_dtype(model_params=parameters)
    shape = comfy_unet_config(stored.config[room])
    family = PersonFamily(shape, stored)
    family.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, load_device))
    model = comfy.model_base.BaseModel(family)
    model.model_sampling = CleanPrediction(family)
    for module in list(model.diffusion_model.modules()):
        if hasattr(module, "attn2"):
            module.attn2 = TextFree()
        if isinstance(module, nn.GroupNorm):
            module.num_groups = stored.config[room]["norm_num_groups"]
    names = comfy.utils.unet_to_diffusers(shape)
    model.diffusion_model.load_state_dict(
        {names.get(key, key): t for key, t in tensors.items() if ".attn2." not in key}
    )
    model.requires_grad_(False)
    return ModelPatcher(model, load_device=load_device, offload_device=unet_offload_device())
