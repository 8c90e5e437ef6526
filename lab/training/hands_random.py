"""A hand model with random weights, for tests of everything but the picture's quality."""

from pathlib import Path

import torch
from torch import nn

from ...hosts.hands import HandNet
from ...hosts.patches import PatchAutoencoder
from .hands_tiny import export, hands_config


def build(seed: int, path: Path) -> Path:
    """Writes the file, shaped as `mannequin-tiny-hands`, but narrow."""
    torch.manual_seed(seed)
    config = hands_config()
    config["net"]["widths"] = [32, 32]
    net, vae = HandNet(**config["net"]), PatchAutoencoder(**config["vae"])
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    basis = torch.linalg.qr(torch.randn(len(vae.mean), config["net"]["latent_channels"]))[0]
    vae.analysis.copy_(basis.mT)
    vae.synthesis.copy_(basis)
    export(Path(path), config, net.state_dict(), vae, {"random": True, "seed": seed})
    return Path(path)
