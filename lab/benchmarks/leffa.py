"""`mannequin bench leffa`: does the Leffa loss earn its place?

As in the paper, the loss comes in a last phase, on attention that already corresponds roughly:
there that of a pretrained model, here that of a first phase with the true flow shown. Then two
second phases start from the same weights and see the same data, noise and steps, one with the
Leffa loss and one without; neither is shown a true flow. Three seeds; pictures at half size
(64x48), so that it takes minutes. tau 2, timesteps below 500, as published.
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
from ..training.models import make_person, person_config
from ..training.person import Recipe, make_trainer
from .heldout import Pairs
from .metrics import flow_epe, garment, psnr, ssim
from .sampling import pose_transfer

SETS, HELDOUT, SEEDS = 512, 64, 3
FIRST_STEPS, SECOND_STEPS = 400, 150
FIRST = Recipe(pure_noise=0.3)
WITHOUT = Recipe(flow=0.0, pure_noise=0.3, noise_mean=0.0)
WITH = replace(WITHOUT, leffa=0.5)
SECOND_RATE = 3e-4
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


def train(
    data: Path,
    recipe: Recipe,
    schedule: Schedule,
    seed: int,
    start_from: dict[str, dict[str, Tensor]] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Averaged weights of the two networks after a phase."""
    shards = HalfSize(data)
    shards.refresh()
    with tempfile.TemporaryDirectory() as folder:
        trainer, loss = make_trainer(
            shards,
            start(data, seed=0),
            person_config(),
            Path(folder) / "run.safetensors",
            schedule,
            ((0.0, recipe),),
            seed,
        )
        for name, state in (start_from or {}).items():
            trainer.modules[name].load_state_dict(state)
        trainer.reset_average()
        trainer.run(loss)
    return trainer.averaged()


def measure(
    data: Path, held: Pairs, states: dict[str, dict[str, Tensor]], seed: int
) -> dict[str, float]:
    """Samples the held-out pairs with averaged weights."""
    config = person_config()
    networks = make_person(config)
    for network, state in zip(networks, states.values(), strict=True):
        network.load_state_dict(state)
        network.requires_grad_(False)
    model = host.PersonModel(*map(SiteUNet, networks), NoiseSchedule(), config)
    network = start(data, seed=0)
    vae = host.Autoencoder(network.encode, network.decode, network.patch, network.patch)
    result, field = pose_transfer(model, vae, held, 4, 1.0, seed)
    h, w = held.label.shape[1:]
    return {
        "flow_epe": flow_epe(
            resize(field, h, w).xy[:, 0], held.flow, held.visible & (held.label > 0)
        ),
        "garment_ssim": ssim(result, held.target, garment(held.label)),
        "person_psnr": psnr(result, held.target, held.label > 0),
    }


def run(seed: int, out: Path, data: Path | None = None) -> dict[str, float]:
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
    runs: dict[str, list[dict[str, float]]] = {"first": [], "with": [], "without": []}
    for i in range(SEEDS):
        own = seed * SEEDS + i
        first = train(data / "train", FIRST, Schedule(FIRST_STEPS), own)
        runs["first"].append(measure(data / "train", held, first, own))
        second = Schedule(SECOND_STEPS, rate=SECOND_RATE, warmup=20)
        for name, recipe in (("with", WITH), ("without", WITHOUT)):
            states = train(data / "train", recipe, second, own, first)
            runs[name].append(measure(data / "train", held, states, own))
        print(json.dumps({name: rows[-1] for name, rows in runs.items()}), flush=True)
    figures: dict[str, float] = {"seed": seed}
    for name, rows in runs.items():
        for figure in FIGURES:
            values = [row[figure] for row in rows]
            figures[f"{figure}_{name}"] = statistics.mean(values)
            figures[f"{figure}_{name}_std"] = statistics.stdev(values)
    out.write_text(json.dumps(figures, indent=1))
    out.with_suffix(".md").write_text(table(figures), encoding="utf-8")
    return figures


def table(figures: dict[str, float]) -> str:
    """Means and standard deviations over the seeds."""
    rows = [
        f"`mannequin bench leffa --seed {figures['seed']}`: {SEEDS} seeds, {FIRST_STEPS} + "
        f"{SECOND_STEPS} steps of 8 pictures at 64x48, {HELDOUT} held-out pairs; weight of the "
        f"Leffa loss {WITH.leffa} (mean over pixels); only the first phase is shown the true flow",
        "",
        "| | flow error (px at 64x48) | garment SSIM | person PSNR |",
        "|---|---|---|---|",
    ]
    titles = {
        "first": "after the first phase",
        "without": "second phase without the Leffa loss",
        "with": "second phase with the Leffa loss",
    }
    for name, title in titles.items():
        cells = [
            f"{figures[f'{figure}_{name}']:.3f} ± {figures[f'{figure}_{name}_std']:.3f}"
            for figure in FIGURES
        ]
        rows.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
