"""A pose model with random weights, for tests of everything but what it finds."""

from pathlib import Path

import torch

from ...hosts.pose_head import build as networks
from ...hosts.pose_head import write_pose_model
from .models import LATENT_CHANNELS, VAE

FAMILIES = ("mannequin-tiny",)


def pose_config(narrow: bool = False) -> dict:
    """The configuration of `mannequin-tiny-pose`, or a narrow one; latents stay as they are."""
    head = {"latent_channels": LATENT_CHANNELS, "downscale": VAE["patch"]}
    shape = {"code": 4, "inner": 8, "width": 16} if narrow else {}
    widths = (16, 16) if narrow else (48, 64, 96)
    full = {"code": 8, "inner": 24, "width": 192} | shape
    return {
        "families": list(FAMILIES),
        "latent_scale": 1.0,
        "head": {**head, "widths": list(widths)},
        "field": full,
    }


def build(seed: int, path: Path) -> Path:
    """Writes the file, shaped as `mannequin-tiny-pose`, but narrow."""
    torch.manual_seed(seed)
    config = pose_config(narrow=True)
    head, field = networks(config)
    provenance = {"random": True, "seed": seed}
    write_pose_model(path, config, head.state_dict(), field.state_dict(), provenance)
    return Path(path)
