"""An inpainting model with random weights, for tests of everything but the picture's quality."""

from pathlib import Path

import torch
from torch import nn

from ...hosts.patches import PatchAutoencoder
from .inpaint import inpaint_config, make_inpaint
from .models import save_person


def build(seed: int, path: Path) -> Path:
    """Writes the file, shaped as `mannequin-tiny-inpaint`."""
    torch.manual_seed(seed)
    config = inpaint_config()
    unet, _, text = make_inpaint(config)
    nn.init.normal_(unet.conv_out.weight, std=0.05)
    vae = PatchAutoencoder(**config["vae"])
    basis = torch.linalg.qr(torch.randn(len(vae.mean), config["latent_channels"]))[0]
    vae.analysis.copy_(basis.mT)
    vae.synthesis.copy_(basis)
    rooms = {"unet": unet, "text": text, "vae": vae}
    states = {room: network.state_dict() for room, network in rooms.items()}
    save_person(Path(path), config, states, {"random": True, "seed": seed})
    return Path(path)
