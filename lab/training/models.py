"""The tiny family's networks: how they are shaped, made and saved."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from ...methods.person import DENSE_POSE_CHANNELS

LATENT_CHANNELS = 8
WIDTHS = (32, 64, 96)


def vae_config(widths: tuple[int, ...] = (32, 32, 64)) -> dict[str, Any]:
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": LATENT_CHANNELS,
        "block_out_channels": list(widths),
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": 1,
        "mid_block_add_attention": False,
        "norm_num_groups": 32,
    }


def unet_config(in_channels: int, widths: tuple[int, ...] = WIDTHS) -> dict[str, Any]:
    """Attention everywhere but in the first down block; one head per 32 channels.

    diffusers' `attention_head_dim` is the number of heads.
    """
    levels = len(widths)
    return {
        "in_channels": in_channels,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": list(widths),
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * (levels - 1),
        "up_block_types": ["CrossAttnUpBlock2D"] * levels,
        "cross_attention_dim": 32,
        "attention_head_dim": [w // 32 for w in widths],
        "norm_num_groups": 32,
    }


def person_config(latent_scale: float) -> dict[str, Any]:
    """The configuration of `mannequin-tiny`, written into its metadata."""
    return {
        "family": "mannequin-tiny",
        "prediction": "v_prediction",
        "zero_terminal_snr": True,
        "dense_pose": "iuv-features",
        "latent_channels": LATENT_CHANNELS,
        "downscale": 4,
        "latent_scale": latent_scale,
        "unet": unet_config(2 * LATENT_CHANNELS + 1 + DENSE_POSE_CHANNELS),
        "unet_encoder": unet_config(LATENT_CHANNELS + DENSE_POSE_CHANNELS),
        "vae": vae_config(),
    }


def make_person(config: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Generator and reference network, freshly initialised; the generator's output is zero."""
    unet = UNet2DConditionModel(**config["unet"])
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet, UNet2DConditionModel(**config["unet_encoder"])


def make_vae(config: dict[str, Any]) -> AutoencoderKL:
    return AutoencoderKL(**config["vae"])


def save_person(
    path: Path,
    config: dict[str, Any],
    states: dict[str, dict[str, torch.Tensor]],
    provenance: dict[str, Any],
) -> None:
    """Writes `unet.*`, `unet_encoder.*`, `vae.*` in half precision, atomically."""
    tensors = {
        f"{room}.{name}": t.detach().to(torch.float16).contiguous()
        for room, state in states.items()
        for name, t in state.items()
    }
    path = Path(path)
    partial = path.with_suffix(".partial")
    save_file(
        tensors,
        partial,
        {"mannequin": json.dumps(config), "provenance": json.dumps(provenance), "format": "pt"},
    )
    partial.replace(path)


def build(seed: int, path: Path) -> Path:
    """A random-weight person model, for tests of everything but the picture's quality."""
    torch.manual_seed(seed)
    config = person_config(1.0)
    unet, reference = make_person(config)
    nn.init.normal_(unet.conv_out.weight, std=0.05)
    states = {
        "unet": unet.state_dict(),
        "unet_encoder": reference.state_dict(),
        "vae": make_vae(config).state_dict(),
    }
    save_person(path, config, states, {"random": True, "seed": seed})
    return Path(path)
