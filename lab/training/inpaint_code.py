"""The inpainting family's autoencoder: close-ups, scenes and whole people, on a tone curve.

Dark faces were the reason. With the person model's code their eyes and mouths were a small part of
the latent, which noise drowned first; on a logarithmic curve, with components brought near to one
size and made larger against the noise, they come back. Pictures are compared on and off the curve.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...hosts.patches import PatchAutoencoder
from .autoencoder import fit_components, psnr, reconstruction_loss
from .inpaint_data import Pool
from .loop import Schedule, Trainer
from .models import VAE

CODE = {**VAE, "tone": 9.0}
WHITENING, SIZE = 0.9, 1.6
SEED, STEPS, RATE, NOISE = 1, 3420, 1e-3, 0.12
FITTED = {"face": 600, "hand": 150, "scene": 200, "body": 60}  # pictures
DRAWN = ("face", "face", "hand", "scene", "body")
COUNTS = {"face": 16, "hand": 16, "scene": 8, "body": 5}


def view(pool: Pool, which: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, H, W] -1..1 and their people [B, 1, H, W], 0 or 1."""
    image, label = pool.take(which)
    return image.movedim(-1, 1).float() / 127.5 - 1, (label > 0).float().unsqueeze(1)


def load_code(work: Path, pools: dict[str, Pool], steps: int = STEPS) -> PatchAutoencoder:
    """The autoencoder of a working folder; trained there, or resumed, when it is not finished.

    Components from the first draws of all domains, then the decoder, with noise on the code so that
    it forgives a sampler's small errors.
    """
    torch.manual_seed(SEED)
    vae = PatchAutoencoder(**CODE)
    checkpoint = Path(work) / "inpaint-code.safetensors"
    if not checkpoint.exists():
        g = torch.Generator().manual_seed(SEED)
        draws = [
            (pools[name], torch.randint(len(pools[name]), (n,), generator=g))
            for name, n in FITTED.items()
        ]
        fit_components(vae, [view(pool, which) for pool, which in draws], WHITENING, SIZE)

    def loss(step: int, g: torch.Generator) -> dict[str, Tensor]:
        name = DRAWN[int(torch.randint(len(DRAWN), (1,), generator=g))]
        pool = pools[name]
        x, _ = view(pool, torch.randint(len(pool), (COUNTS[name],), generator=g))
        z = vae.encode(x)
        y = vae.decode_toned(z + NOISE * torch.randn(z.shape, generator=g))
        on_curve = reconstruction_loss(y, vae.toned(x))
        return {"total": on_curve + reconstruction_loss(vae.untoned(y), x)}

    trainer = Trainer({"vae": vae}, Schedule(steps, rate=RATE, decay=0), checkpoint, SEED)
    if trainer.step < steps:
        trainer.run(loss)
    vae.load_state_dict(trainer.averaged()["vae"])
    return vae.eval().requires_grad_(False)


@torch.inference_mode()
def reconstruction(vae: PatchAutoencoder, pools: dict[str, Pool], count: int = 64) -> dict:
    """PSNR of held-out pictures through the autoencoder, and on their people, per domain."""
    out = {}
    for domain, pool in pools.items():
        x, people = view(pool, torch.arange(count))
        back = vae.decode(vae.encode(x))
        person = (people > 0).expand_as(x)
        out[domain] = round(psnr(back, x), 2)
        out[f"{domain}_person"] = round(psnr(back[person], x[person]), 2)
    return out
