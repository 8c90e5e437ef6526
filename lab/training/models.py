"""The tiny family's networks: how they are shaped, made and saved."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from ...hosts.patches import PatchAutoencoder
from ...methods.person import DENSE_POSE_CHANNELS

PERSON_WEIGHTS = Path(__file__).parents[2] / "weights" / "mannequin-tiny.safetensors"
LATENT_CHANNELS = 12
WIDTHS = (32, 64, 96)
FLOW_LAYERS = ["up.2.1"]


VAE = {"latent_channels": LATENT_CHANNELS, "patch": 4, "width": 64, "blocks": 4}


PUBLISHED = {
    "sd15": (
        (1, 2, 2, 2),
        {
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        },
    ),
    "sdxl": (
        (1, 2, 2),
        {
            "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
            "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
            "transformer_layers_per_block": [1, 1, 2],
            "use_linear_projection": True,
        },
    ),
}


def unet_config(in_channels: int, widths: tuple[int, ...] = WIDTHS) -> dict[str, Any]:
    """Attention everywhere but in the first down block; one head per 32 channels.

    diffusers' `attention_head_dim` is the number of heads. Groups of one channel would normalise
    the picture's colour away, hence 8 groups and not 32.
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
        "norm_num_groups": 8,
    }


def person_config(latent_scale: float = 1.0) -> dict[str, Any]:
    """The configuration of `mannequin-tiny`, written into its metadata."""
    return {
        "family": "mannequin-tiny",
        "prediction": "sample",
        "zero_terminal_snr": True,
        "dense_pose": "iuv-features",
        "flow_layers": FLOW_LAYERS,
        "latent_channels": LATENT_CHANNELS,
        "downscale": VAE["patch"],
        "size": [128, 96],
        "latent_scale": latent_scale,
        "unet": unet_config(2 * LATENT_CHANNELS + 1 + DENSE_POSE_CHANNELS),
        "unet_encoder": unet_config(LATENT_CHANNELS + DENSE_POSE_CHANNELS),
        "vae": VAE,
    }


def make_person(config: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Generator and reference network, freshly initialised; the generator's output is zero."""
    unet = UNet2DConditionModel(**config["unet"])
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet, UNet2DConditionModel(**config["unet_encoder"])


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
    config = person_config()
    unet, reference = make_person(config)
    nn.init.normal_(unet.conv_out.weight, std=0.05)
    vae = PatchAutoencoder(**VAE)
    basis = torch.linalg.qr(torch.randn(len(vae.mean), LATENT_CHANNELS))[0]
    vae.analysis.copy_(basis.mT)
    vae.synthesis.copy_(basis)
    states = {
        "unet": unet.state_dict(),
        "unet_encoder": reference.state_dict(),
        "vae": vae.state_dict(),
    }
    save_person(path, config, states, {"random": True, "seed": seed})
    return Path(path)


def build_published(seed: int, path: Path, family: str = "sd15", width: int = 32) -> Path:
    """A random-weight file shaped like the published Leffa checkpoints, but narrow.

    family: "sd15" (try-on) or "sdxl" (pose transfer). width: of the first level, a multiple of 32
    (64 for "sdxl"). A path ending in .pth gets a PyTorch checkpoint, as published; any other a
    safetensors file. Neither carries a configuration.
    """
    torch.manual_seed(seed)
    multiples, shape = PUBLISHED[family]
    widths = [width * n for n in multiples]
    heads = [w // 64 for w in widths] if family == "sdxl" else 8
    shape = {
        **shape,
        "block_out_channels": widths,
        "attention_head_dim": heads,
        "cross_attention_dim": 64,
        "out_channels": 4,
    }
    rooms = {
        "unet": UNet2DConditionModel(in_channels=12, **shape),
        "unet_encoder": UNet2DConditionModel(in_channels=4, **shape),
        "vae": AutoencoderKL(
            block_out_channels=[32, 32, 32, 32],
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
        ),
    }
    state = {f"{room}.{k}": t for room, net in rooms.items() for k, t in net.state_dict().items()}
    path = Path(path)
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({k: t.contiguous() for k, t in state.items()}, path)
    return path
