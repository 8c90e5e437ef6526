"""`mannequin train inpaint`: a tiny inpainting model that listens to text, of synthetic people.

Four domains share one network: whole people (128x96), faces and hands (64x64), scenes of one to
three people (64x128). Every step draws one domain. What is painted: noisy latent, mask, latent of
the masked picture, as in published inpainting checkpoints; the network predicts x0, for the
reasons in weights/README.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from ...hosts.patches import PatchAutoencoder
from ...hosts.sampling import NoiseSchedule
from ...hosts.text import TextEncoder, WordTokenizer, make_text
from ...methods.person import latent_mask
from ..people import write_shards
from ..people.groups import HEIGHT, WIDTH
from ..people.portrait_shards import write_portraits
from .inpaint_code import CODE, load_code, reconstruction
from .inpaint_data import DOMAINS, Batch, Pool
from .inpaint_features import FaceFeatures
from .loop import Schedule, Trainer
from .models import LATENT_CHANNELS, PERSON_WEIGHTS, VAE
from .parallel import launch, rank
from .person import Recipe, draw_timesteps
from .scene_data import ScenePool
from .vocabulary import TEXT

SEED = 1
BODY_SETS, PORTRAITS, HELDOUT_SETS, HELDOUT_PORTRAITS = 2624, 3072, 256, 128
STEPS, CRITICS_FROM, DECAY, RATE = 45_200, 0.95, 0.1, 4e-4
WIDTHS = (48, 96, 128)
SHARES = {"body": 0.1, "face": 0.58, "hand": 0.12, "scene": 0.2}
COUNTS = {"body": 4, "face": 12, "hand": 12, "scene": 6}
NOISE = Recipe(pure_noise=0.06, noise_mean=0.6)  # latents are large: much is still seen at 700
FLOOR = 0.05  # of the noise share in the loss weight: the smaller, the more detail counts
OUTSIDE = 0.15
REFRESH = 250  # steps between looks for new shards
WEIGHTS = PERSON_WEIGHTS.parent / "inpaint" / "mannequin-tiny-inpaint.safetensors"


def inpaint_config() -> dict[str, Any]:
    """The configuration of `mannequin-tiny-inpaint`, written into its metadata."""
    return {
        "family": "mannequin-tiny-inpaint",
        "prediction": "sample",
        "zero_terminal_snr": True,
        "latent_channels": LATENT_CHANNELS,
        "downscale": VAE["patch"],
        "latent_scale": 1.0,
        "sizes": {"body": [128, 96], "face": [64, 64], "hand": [64, 64], "scene": [HEIGHT, WIDTH]},
        "unet": {
            "in_channels": 2 * LATENT_CHANNELS + 1,
            "out_channels": LATENT_CHANNELS,
            "block_out_channels": list(WIDTHS),
            "layers_per_block": 1,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D"] * 3,
            "cross_attention_dim": TEXT["width"],
            "attention_head_dim": [w // 32 for w in WIDTHS],
            "norm_num_groups": 8,
        },
        "text": TEXT,
        "vae": CODE,
    }


def make_inpaint(config: dict[str, Any]) -> tuple[nn.Module, WordTokenizer, TextEncoder]:
    """UNet with zero output, tokenizer and text encoder, freshly initialised."""
    unet = UNet2DConditionModel(**config["unet"])
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet, *make_text(config["text"])


def concat(vae: PatchAutoencoder, picture: Tensor, region: Tensor) -> Tensor:
    """What the network sees beside the noisy latent, [B, 1 + C, h, w]: mask, masked latent.

    picture [B, 3, H, W] -1..1; region [B, 1, H, W], 1 where it is to be painted (grey there).
    """
    masked = vae.encode(picture * (1 - region))
    return torch.cat([latent_mask(region[:, 0], masked.shape[-2:]), masked], 1)


def draw_domain(g: torch.Generator) -> str:
    """One of DOMAINS, by SHARES."""
    shares = torch.tensor([SHARES[name] for name in DOMAINS])
    return DOMAINS[int(torch.multinomial(shares, 1, generator=g))]


class InpaintLoss:
    """Squared error of x0, weighted 1 / (1 - alpha + FLOOR) and mostly inside the mask; and, where
    `features` are given, what a face network makes of the difference.
    """

    def __init__(
        self,
        unet: nn.Module,
        tokenizer: WordTokenizer,
        text: TextEncoder,
        vae: PatchAutoencoder,
        pools: dict[str, Pool],
        features: FaceFeatures | None = None,
    ) -> None:
        self.unet, self.tokenizer, self.text = unet, tokenizer, text
        self.vae, self.pools, self.features = vae, pools, features
        self.schedule = NoiseSchedule()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        if step % REFRESH == 0:
            for pool in self.pools.values():
                pool.refresh()
        domain = draw_domain(g)
        terms = self.of(self.pools[domain].draw(COUNTS[domain], g), g)
        total = torch.stack(list(terms.values())).sum()
        return {"total": total, **{name: term.detach() for name, term in terms.items()}}

    def of(self, batch: Batch, g: torch.Generator, t: Tensor | None = None) -> dict[str, Tensor]:
        """The terms of one batch's loss, "noise" first; t [B] timesteps, drawn when not given."""
        with torch.no_grad():
            target = self.vae.encode(batch.picture)
            seen = concat(self.vae, batch.picture, batch.region)
        if t is None:
            t = draw_timesteps(len(target), NOISE, g)
        a = self.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = torch.randn(target.shape, generator=g)
        noisy = a.sqrt() * target + (1 - a).sqrt() * noise
        words = self.text(self.tokenizer(batch.prompts))
        out = self.unet(torch.cat([noisy, seen], 1), t, words, return_dict=False)[0]
        weight = OUTSIDE + seen[:, :1]
        error = (out - target).square() * weight / (1 - a + FLOOR)
        terms = {"noise": error.sum() / weight.sum() / target.shape[1]}
        return terms | (self.features(out, target, seen[:, :1], g) if self.features else {})


@torch.inference_mode()
def heldout_loss(loss: InpaintLoss, pools: dict[str, Pool], count: int = 64) -> dict[str, float]:
    """Squared error on held-out pictures per domain and noise level (timesteps 999, 700, 350), and
    at 999 with the prompts of other pictures: what the text is worth.
    """
    out = {}
    for domain, pool in pools.items():
        g = torch.Generator().manual_seed(7)
        batch = pool.draw(count, g)
        for t in (999, 700, 350):
            times = torch.full((count,), t)
            value = loss.of(batch, torch.Generator().manual_seed(8), times)["noise"]
            out[f"{domain}_{t}"] = round(float(value), 4)
        batch.prompts = batch.prompts[1:] + batch.prompts[:1]
        times = torch.full((count,), 999)
        value = loss.of(batch, torch.Generator().manual_seed(8), times)["noise"]
        out[f"{domain}_999_other_text"] = round(float(value), 4)
    return out


def open_pools(work: Path, heldout: bool = False) -> dict[str, Pool]:
    """The domains' pictures in a working folder."""
    body, close = ("heldout", "portraits-heldout") if heldout else ("train", "portraits")
    folders = {"body": work / body, "face": work / close, "hand": work / close}
    pools = {name: Pool(name, folder) for name, folder in folders.items()}
    return {**pools, "scene": ScenePool(pools["face"])}


def make_trainer(
    config: dict[str, Any],
    vae: PatchAutoencoder,
    pools: dict[str, Pool],
    checkpoint: Path,
    schedule: Schedule,
    features: FaceFeatures | None = None,
) -> tuple[Trainer, InpaintLoss]:
    """The trainer of UNet and text encoder, and its loss; resumes when the checkpoint exists."""
    torch.manual_seed(SEED)
    unet, tokenizer, text = make_inpaint(config)
    trainer = Trainer({"unet": unet, "text": text}, schedule, checkpoint, SEED, every=180.0)
    return trainer, InpaintLoss(unet, tokenizer, text, vae, pools, features)


def export(trainer: Trainer, vae: PatchAutoencoder, config: dict[str, Any], out: Path) -> None:
    """Writes the averaged `unet.*` and `text.*`, and `vae.*`, in half precision, atomically."""
    states = {**trainer.averaged(), "vae": vae.state_dict()}
    tensors = {
        f"{room}.{name}": t.detach().to(torch.float16).contiguous()
        for room, state in states.items()
        for name, t in state.items()
    }
    provenance = {
        "made_by": "mannequin train inpaint",
        "data": "synthetic people of lab/people, split train: people-1 and portraits-1, from 0",
        "licence": "Apache-2.0",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    about = {"mannequin": json.dumps(config), "provenance": json.dumps(provenance), "format": "pt"}
    save_file(tensors, partial, about)
    partial.replace(out)


def main(arguments: list[str]) -> None:
    """Renders, trains and writes the weights. Interrupted, it goes on where it was."""
    parser = argparse.ArgumentParser("mannequin train inpaint", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--sets", type=int, default=BODY_SETS, help="whole-body sets to render")
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="people for close-ups")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--processes", type=int, default=1, help="each with a batch of its own")
    options = parser.parse_args(arguments)
    work = options.work
    write_shards(work / "heldout", 0, HELDOUT_SETS, "heldout")
    write_shards(work / "train", 0, options.sets, "train")
    write_portraits(work / "portraits-heldout", 0, HELDOUT_PORTRAITS, "heldout")
    write_portraits(work / "portraits", 0, options.portraits, "train")
    launch(options.processes, run, work, options.out, options.steps)


def run(work: Path, out: Path, steps: int) -> None:
    """Trains on what `work` holds and writes `out`."""
    pools, unseen = open_pools(work), open_pools(work, heldout=True)
    vae = load_code(work, pools)
    if rank() == 0:
        print(json.dumps({"autoencoder": reconstruction(vae, unseen)}), flush=True)
    config = inpaint_config()
    schedule = Schedule(steps, rate=RATE, decay=DECAY, ema=0.9995)
    checkpoint, features = work / "inpaint.safetensors", FaceFeatures.load(vae)
    trainer, loss = make_trainer(config, vae, pools, checkpoint, schedule, features)
    trainer.run(loss, until=lambda: trainer.step >= CRITICS_FROM * steps)
    features.judged_by_critics(work / "inpaint-critics.safetensors")
    trainer.run(loss)
    if rank() > 0:
        return
    print(json.dumps({"heldout": heldout_loss(loss, unseen)}), flush=True)
    export(trainer, vae, config, out)
