"""Makes the tiny family's autoencoder: principal components of patches, then a trained decoder."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from ...hosts.patches import PatchAutoencoder
from .data import Shards, pictures
from .loop import Schedule, Trainer
from .models import PERSON_WEIGHTS, VAE

LATENT_NOISE = 0.08


def fit_components(
    vae: PatchAutoencoder,
    views: Sequence[tuple[Tensor, Tensor]],
    whitening: float = 0.5,
    size: float = 1.0,
) -> None:
    """Sets the linear code from pictures [B, 3, H, W] -1..1 with person masks [B, 1, H, W].

    Patches of people count more (1.3 to 0.3). whitening, 0..1: a component is divided by its
    standard deviation to this power, so that fine detail neither drowns in the noise nor rules the
    loss; then all are brought to a mean variance of 1, times `size`.
    """
    patches, weights = [], []
    for x, person in views:
        patches.append(F.pixel_unshuffle(vae.toned(x), vae.patch).movedim(1, -1).flatten(0, 2))
        weights.append(0.3 + F.avg_pool2d(person, vae.patch).flatten().double().unsqueeze(1))
    values_of, weight = torch.cat(patches).double(), torch.cat(weights)
    mean = (values_of * weight).sum(0) / weight.sum()
    centred = values_of - mean
    covariance = (centred * weight).mT @ centred / weight.sum()
    values, vectors = torch.linalg.eigh(covariance)
    count = len(vae.analysis)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    signs = vectors.sum(0).sign()
    scale = values.clamp_min(1e-8) ** (whitening / 2)
    scale *= (values / scale.square()).mean().sqrt() / size
    vae.mean.copy_(mean)
    vae.analysis.copy_((vectors * signs / scale).mT)
    vae.synthesis.copy_(vectors * signs * scale)


def reconstruction_loss(out: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of pixels and of their horizontal and vertical differences."""
    edges = sum((out.diff(dim=d) - target.diff(dim=d)).abs().mean() for d in (-1, -2))
    return (out - target).abs().mean() + edges


def psnr(out: Tensor, target: Tensor) -> float:
    """In dB for pictures in -1..1, clamped as a decoder's user sees them."""
    error = (out.detach().clamp(-1, 1) - target).square().mean() / 4
    return float(-10 * error.log10())


def shipped(path: Path = PERSON_WEIGHTS) -> PatchAutoencoder:
    """The autoencoder in a file of the tiny family."""
    with safe_open(path, framework="pt") as file:
        vae = PatchAutoencoder(**json.loads(file.metadata()["mannequin"])["vae"])
        names = [name for name in file.keys() if name.startswith("vae.")]  # noqa: SIM118
        vae.load_state_dict({name[4:]: file.get_tensor(name).float() for name in names})
    return vae.eval().requires_grad_(False)


def start(data: Path, seed: int, sets: int = 64) -> PatchAutoencoder:
    """The linear part from the first shard's pictures; the decoder adds nothing yet."""
    torch.manual_seed(seed)
    vae = PatchAutoencoder(**VAE)
    shards = Shards(data)
    shards.refresh()
    x = pictures(shards.shards[0]["image"][:sets].flatten(0, 1))
    label = shards.shards[0]["label"][:sets].flatten(0, 1)
    fit_components(vae, [(x, (label > 0).float().unsqueeze(1))])
    return vae


def train(
    data: Path, heldout: Path, checkpoint: Path, steps: int, seed: int, batch: int = 8
) -> PatchAutoencoder:
    """Trains the decoder, or resumes; prints the reconstruction PSNR on held-out pictures.

    The code gets a little noise, so that the decoder forgives a sampler's small errors.
    """
    vae = start(data, seed)
    shards = Shards(data)
    shards.refresh()
    print(json.dumps({"linear": evaluate(vae, heldout)}), flush=True)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        sets = torch.randint(shards.sets, (batch,), generator=generator)
        which = torch.randint(4, (batch,), generator=generator)
        x = pictures(shards.gather("image", sets, which))
        z = vae.encode(x)
        z = z + LATENT_NOISE * torch.randn(z.shape, generator=generator)
        return {"total": reconstruction_loss(vae.decode(z), x)}

    trainer = Trainer({"vae": vae}, Schedule(steps, rate=1e-3, decay=0.4), checkpoint, seed)
    trainer.run(loss)
    vae.load_state_dict(trainer.averaged()["vae"])
    print(json.dumps({"decoder": evaluate(vae, heldout)}), flush=True)
    return vae


@torch.inference_mode()
def evaluate(vae: PatchAutoencoder, heldout: Path, count: int = 64) -> dict[str, float]:
    """PSNR of the reconstruction, the person's, and the latents' standard deviation."""
    shards = Shards(heldout)
    shards.refresh()
    sets = torch.arange(min(count, shards.sets))
    x = pictures(shards.gather("image", sets, torch.zeros_like(sets)))
    z = vae.encode(x)
    out = vae.decode(z)
    person = (shards.gather("label", sets, torch.zeros_like(sets)) > 0).unsqueeze(1).expand_as(x)
    return {
        "psnr": psnr(out, x),
        "person_psnr": psnr(out[person], x[person]),
        "latent_std": float(z.std()),
    }
