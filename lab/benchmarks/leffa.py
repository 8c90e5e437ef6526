"""`mannequin bench leffa`: does the Leffa loss earn its place?

Six short trainings on the same data: three seeds, each with and without the Leffa loss and equal
in everything else; no true flow is shown to either. Pictures at half size (64x48), so that it
takes minutes. The loss works as published: tau 2, timesteps below 500, finest layers.
"""

import json
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.sampling import NoiseSchedule
from ...hosts.unet import SiteUNet
from ...methods.flow import resize
from ..training.autoencoder import start
from ..training.data import Shards
from ..training.loop import Schedule
from ..training.models import person_config
from ..training.person import Recipe, make_trainer
from .heldout import Pairs
from .metrics import flow_epe, garment, psnr, ssim
from .sampling import pose_transfer

SETS, STEPS, HELDOUT, SEEDS = 512, 600, 64, 3
WITHOUT = Recipe(flow=0.0, leffa=0.0, pure_noise=0.3)
WITH = replace(WITHOUT, leffa=1.0, leffa_from=0.0)
FIGURES = ("flow_epe", "garment_ssim", "person_psnr")


@dataclass
class HalfSize(Shards):
    """Shards at half the pictures' size; the flow already is."""

    def refresh(self) -> list[dict[str, Tensor]]:
        fresh = super().refresh()
        for shard in fresh:
            image = shard["image"].flatten(0, 1).movedim(-1, 1).float()
            image = F.avg_pool2d(image, 2).round().byte().movedim(1, -1)
            shard["image"] = image.unflatten(0, (-1, 4))
            shard["dense_pose"] = shard["dense_pose"][:, :, 1::2, 1::2]
            shard["label"] = shard["label"][:, :, 1::2, 1::2]
        return fresh


def heldout_pairs(shards: Shards) -> Pairs:
    """Pictures 0 and 1 of every set, with true dense poses."""
    stored = {k: torch.cat([s[k] for s in shards.shards])[:HELDOUT] for k in shards.shards[0]}
    poses = stored["dense_pose"].float() / 255
    image = stored["image"].float() / 255
    return Pairs(
        source=image[:, 0],
        target=image[:, 1],
        source_pose=poses[:, 0],
        target_pose=poses[:, 1],
        label=stored["label"][:, 1],
        flow=stored["flow"][:, 0].float(),
        visible=stored["visible"][:, 0].bool(),
    )


def one_run(data: Path, held: Pairs, recipe: Recipe, steps: int, seed: int) -> dict[str, float]:
    """Trains from scratch and measures on held-out pairs."""
    shards = HalfSize(data)
    shards.refresh()
    vae = start(data, seed=0)
    config = person_config()
    with tempfile.TemporaryDirectory() as folder:
        trainer, loss = make_trainer(
            shards, vae, config, Path(folder) / "run.safetensors", Schedule(steps), recipe, seed
        )
        trainer.run(loss)
    unet, reference = trainer.modules["unet"], trainer.modules["unet_encoder"]
    for name, module in trainer.modules.items():
        module.load_state_dict(trainer.averaged()[name])
        module.requires_grad_(False)
    model = host.PersonModel(SiteUNet(unet), SiteUNet(reference), NoiseSchedule(), config)
    result, field = pose_transfer(model, host.Autoencoder(vae), held, 10, 1.0, seed)
    h, w = held.label.shape[1:]
    return {
        "flow_epe": flow_epe(
            resize(field, h, w).xy[:, 0], held.flow, held.visible & (held.label > 0)
        ),
        "garment_ssim": ssim(result, held.target, garment(held.label)),
        "person_psnr": psnr(result, held.target, held.label > 0),
    }


def run(seed: int, out: Path, steps: int = STEPS, data: Path | None = None) -> dict[str, float]:
    """Renders the data if `data` (a folder with train/ and heldout/) is not given; trains, writes
    `out` (JSON: each figure's mean and _std, with and without) and a table beside it.
    """
    from ..people import write_shards

    out = Path(out)
    data = Path(data) if data else out.with_suffix("")
    write_shards(data / "train", seed * SETS, SETS, "train")
    write_shards(data / "heldout", seed * SETS, HELDOUT, "heldout")
    held_shards = HalfSize(data / "heldout")
    held_shards.refresh()
    held = heldout_pairs(held_shards)
    figures: dict[str, float] = {"seed": seed, "steps": steps}
    for name, recipe in (("with", WITH), ("without", WITHOUT)):
        runs = [
            one_run(data / "train", held, recipe, steps, seed * SEEDS + i) for i in range(SEEDS)
        ]
        print(json.dumps({name: runs}), flush=True)
        for figure in FIGURES:
            values = [r[figure] for r in runs]
            figures[f"{figure}_{name}"] = statistics.mean(values)
            figures[f"{figure}_{name}_std"] = statistics.stdev(values)
    out.write_text(json.dumps(figures, indent=1))
    out.with_suffix(".md").write_text(table(figures))
    return figures


def table(figures: dict[str, float]) -> str:
    rows = [
        f"`mannequin bench leffa --seed {figures['seed']}`: {SEEDS} seeds, "
        f"{figures['steps']} steps of 8 pictures at 64x48, {HELDOUT} held-out pairs",
        "",
        "| Leffa loss | flow error (px at 64x48) | garment SSIM | person PSNR |",
        "|---|---|---|---|",
    ]
    for name in ("with", "without"):
        cells = [
            f"{figures[f'{figure}_{name}']:.3f} +- {figures[f'{figure}_{name}_std']:.3f}"
            for figure in FIGURES
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
