"""Trains the tiny family's autoencoder: 128x96 pictures to 8 channels at a quarter of the size."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Shards, pictures
from .loop import Schedule, Trainer
from .models import make_vae, person_config

CROP = 64
KL_WEIGHT = 1e-5


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.diff(dim=-1), x.diff(dim=-2)


def reconstruction_loss(out: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of pixels and of their horizontal and vertical differences."""
    edges = zip(gradients(out), gradients(target), strict=True)
    return (out - target).abs().mean() + sum((a - b).abs().mean() for a, b in edges)


def psnr(out: Tensor, target: Tensor) -> float:
    """In dB for pictures in -1..1, clamped as a decoder's user sees them."""
    error = (out.clamp(-1, 1) - target).square().mean() / 4
    return float(-10 * error.log10())


def train(
    data: Path, heldout: Path, checkpoint: Path, steps: int, seed: int, batch: int = 16
) -> Trainer:
    """Trains or resumes; prints the reconstruction PSNR on held-out pictures at the end."""
    torch.manual_seed(seed)
    vae = make_vae(person_config(1.0))
    shards = Shards(data)
    shards.refresh()

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        if step % 200 == 0:
            shards.refresh()
        sets = torch.randint(shards.sets, (batch,), generator=generator)
        which = torch.randint(4, (batch,), generator=generator)
        x = pictures(shards.gather("image", sets, which))
        top = int(torch.randint(x.shape[2] - CROP + 1, (), generator=generator))
        left = int(torch.randint(x.shape[3] - CROP + 1, (), generator=generator))
        x = x[:, :, top : top + CROP, left : left + CROP]
        posterior = vae.encode(x).latent_dist
        out = vae.decode(posterior.sample(generator), return_dict=False)[0]
        fit = reconstruction_loss(out, x)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return {"total": fit + KL_WEIGHT * kl, "fit": fit.detach(), "kl": kl.detach()}

    trainer = Trainer({"vae": vae}, Schedule(steps, rate=1e-3, decay=0.3), checkpoint, seed)
    trainer.run(loss)
    vae.load_state_dict(trainer.averaged()["vae"])
    print(json.dumps(evaluate(vae.train(False), heldout)), flush=True)
    return trainer


@torch.inference_mode()
def evaluate(vae: torch.nn.Module, heldout: Path, count: int = 64) -> dict[str, float]:
    """PSNR of the mean reconstruction, its foreground's, and the latents' standard deviation."""
    shards = Shards(heldout)
    shards.refresh()
    sets = torch.arange(min(count, shards.sets))
    x = pictures(shards.gather("image", sets, torch.zeros_like(sets)))
    z = vae.encode(x).latent_dist.mode()
    out = vae.decode(z, return_dict=False)[0]
    person = (shards.gather("label", sets, torch.zeros_like(sets)) > 0).unsqueeze(1).expand_as(x)
    return {
        "psnr": psnr(out, x),
        "person_psnr": psnr(out[person], x[person]),
        "latent_std": float(z.std()),
        "bilinear_person_psnr": psnr(
            F.interpolate(F.avg_pool2d(x, 4), scale_factor=4, mode="bilinear")[person], x[person]
        ),
    }
