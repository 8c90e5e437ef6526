"""`mannequin train hands-tiny`: the hand generator, on close-ups of synthetic people.

Picture and mask are denoised together; the condition is the drawing of the 21 points, what is
around the hand where a picture is repaired, and the colour of the skin where it is known.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...hosts.hands import HandNet
from ...hosts.patches import PatchAutoencoder
from ...hosts.sampling import NoiseSchedule
from ...methods import hands
from ...methods.hand_pose import POINTS
from ..people.portrait_shards import write_portraits
from .autoencoder import shipped
from .hands_data import HandBatch, HandPool, open_pool
from .inpaint import WEIGHTS as BASE
from .inpaint import concat
from .inpaint_code import CODE
from .loop import Schedule, Trainer
from .models import LATENT_CHANNELS, PERSON_WEIGHTS, VAE
from .person import Recipe, draw_timesteps

SEED = 5
STEPS, DECAY, RATE, BATCH = 12_000, 0.2, 4e-4, 16
WIDTHS = (64, 96, 128)
NOISE = Recipe(pure_noise=0.2, noise_mean=0.0)
OUTSIDE, ON_HAND = 0.15, 1.5  # weight of cells that are given, and extra weight of the hand's
PORTRAITS, HELDOUT = 2048, 128
WEIGHTS = PERSON_WEIGHTS.parent / "hands" / "mannequin-tiny-hands.safetensors"


def hands_config() -> dict[str, Any]:
    """The configuration of `mannequin-tiny-hands`, written into its metadata."""
    return {
        "family": "mannequin-tiny-hands",
        "prediction": "sample",
        "zero_terminal_snr": True,
        "size": 64,
        "points": POINTS,
        "net": {
            "widths": list(WIDTHS),
            "latent_channels": LATENT_CHANNELS,
            "patch": VAE["patch"],
        },
        "vae": CODE,
    }


class HandLoss:
    """Joint loss of picture and mask, mostly inside what is painted, more on the hand."""

    def __init__(self, net: HandNet, vae: PatchAutoencoder, pool: HandPool) -> None:
        self.net, self.vae, self.pool = net, vae, pool
        self.schedule = NoiseSchedule()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        return self.of(self.pool.draw(BATCH, g), g)

    def of(
        self, batch: HandBatch, g: torch.Generator, t: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The loss of one batch; t [B] timesteps, drawn when not given."""
        with torch.no_grad():
            picture = self.vae.encode(batch.picture)
            grid = tuple(picture.shape[-2:])
            target = torch.cat([picture, hands.encode_mask(batch.mask, grid)], 1)
            seen = concat(self.vae, batch.picture, batch.region)
        if t is None:
            t = draw_timesteps(len(target), NOISE, g)
        a = self.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = torch.randn(target.shape, generator=g)
        noisy = a.sqrt() * target + (1 - a).sqrt() * noise
        out = self.net(noisy, t, seen, batch.pose, batch.skin)
        own = torch.nn.functional.adaptive_avg_pool2d(batch.mask.unsqueeze(1), grid)
        weight = OUTSIDE + seen[:, :1] * (1 + ON_HAND * own)
        return hands.joint_loss(out, target, weight, 1 - a.flatten())


@torch.inference_mode()
def heldout_loss(loss: HandLoss, pool: HandPool, count: int = 64) -> dict[str, float]:
    """Loss on held-out close-ups per noise level (timesteps 999, 700, 350), and at 999 with the
    poses of other hands: what the pose is worth."""
    out = {}
    batch = pool.draw(count, torch.Generator().manual_seed(7))
    for t in (999, 700, 350):
        terms = loss.of(batch, torch.Generator().manual_seed(8), torch.full((count,), t))
        out |= {f"{name}_{t}": round(float(value), 4) for name, value in terms.items()}
    batch.pose = batch.pose.roll(1, 0)
    terms = loss.of(batch, torch.Generator().manual_seed(8), torch.full((count,), 999))
    return {**out, "total_999_other_pose": round(float(terms["total"]), 4)}


def make_trainer(
    config: dict[str, Any],
    vae: PatchAutoencoder,
    pool: HandPool,
    checkpoint: Path,
    schedule: Schedule,
) -> tuple[Trainer, HandLoss]:
    """The trainer of the network, and its loss; resumes when the checkpoint exists."""
    torch.manual_seed(SEED)
    net = HandNet(**config["net"])
    trainer = Trainer({"net": net}, schedule, checkpoint, SEED, every=180.0)
    return trainer, HandLoss(net, vae, pool)


def export(
    out: Path,
    config: dict[str, Any],
    net: dict[str, Tensor],
    vae: PatchAutoencoder,
    provenance: dict[str, Any],
) -> None:
    """Writes `net.*` and `vae.*` in half precision, atomically."""
    rooms = {"net": net, "vae": vae.state_dict()}
    tensors = {
        f"{room}.{name}": t.detach().to(torch.float16).contiguous()
        for room, state in rooms.items()
        for name, t in state.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    about = {"mannequin": json.dumps(config), "provenance": json.dumps(provenance), "format": "pt"}
    save_file(tensors, partial, about)
    partial.replace(out)


def run(work: Path, base: Path, out: Path, steps: int) -> None:
    """Trains on what `work` holds, with the autoencoder of `base`, and writes `out`."""
    config, vae = hands_config(), shipped(base)
    schedule = Schedule(steps, rate=RATE, decay=DECAY, ema=0.999)
    pool = open_pool(work / "portraits")
    trainer, loss = make_trainer(config, vae, pool, work / "hands.safetensors", schedule)
    trainer.run(loss)
    averaged = trainer.averaged()["net"]
    loss.net.load_state_dict(averaged)
    print(json.dumps(heldout_loss(loss, open_pool(work / "portraits-heldout"))), flush=True)
    provenance = {
        "made_by": "mannequin train hands-tiny",
        "data": "synthetic people of lab/people, portraits-1, split train, from 0",
        "licence": "Apache-2.0",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    export(out, config, averaged, vae, provenance)


def main(arguments: list[str]) -> None:
    """Renders, trains and writes the weights. Interrupted, it goes on where it was."""
    parser = argparse.ArgumentParser("mannequin train hands-tiny", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--base", type=Path, default=BASE, help="whose autoencoder is used")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="people for close-ups")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    work = options.work
    write_portraits(work / "portraits-heldout", 0, HELDOUT, "heldout")
    write_portraits(work / "portraits", 0, options.portraits, "train")
    run(work, options.base, options.out, options.steps)
