"""`mannequin train tiny`: the shipped weights, from rendered people to the file in weights/."""

import argparse
from pathlib import Path
from typing import Any

from ...hosts.patches import PatchAutoencoder
from ..people import write_shards
from . import autoencoder
from .data import Shards
from .loop import Schedule, Trainer
from .models import person_config, save_person
from .person import PHASES, make_trainer

SEED = 1
TRAIN_SETS, HELDOUT_SETS = 2624, 256
AUTOENCODER_STEPS, PERSON_STEPS, PERSON_DECAY = 1500, 4950, 0.25
WEIGHTS = Path(__file__).parents[2] / "weights" / "mannequin-tiny.safetensors"


def main(arguments: list[str]) -> None:
    """Renders, trains and writes the weights. Interrupted, it goes on where it was."""
    parser = argparse.ArgumentParser("mannequin train tiny", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("out/train-tiny"), help="data, checkpoints"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--sets", type=int, default=TRAIN_SETS, help="training sets to render")
    parser.add_argument("--steps", type=int, default=PERSON_STEPS)
    parser.add_argument("--autoencoder-steps", type=int, default=AUTOENCODER_STEPS)
    options = parser.parse_args(arguments)
    data, heldout = options.work / "train", options.work / "heldout"
    write_shards(heldout, 0, HELDOUT_SETS, "heldout")
    write_shards(data, 0, options.sets, "train")
    vae = autoencoder.train(
        data, heldout, options.work / "vae.safetensors", options.autoencoder_steps, SEED
    )
    trainer = train_person(data, vae, options.work / "person.safetensors", options.steps)
    export(trainer, vae, options.out)


def train_person(data: Path, vae: PatchAutoencoder, checkpoint: Path, steps: int) -> Trainer:
    """Trains or resumes the person model."""
    shards = Shards(data)
    shards.refresh()
    schedule = Schedule(steps, decay=PERSON_DECAY)
    trainer, loss = make_trainer(shards, vae, person_config(), checkpoint, schedule, PHASES, SEED)
    trainer.run(loss)
    return trainer


def export(trainer: Trainer, vae: PatchAutoencoder, out: Path) -> None:
    """The averaged weights, with where they come from."""
    provenance: dict[str, Any] = {
        "made_by": "mannequin train tiny",
        "data": "synthetic people of lab/people, split train, seeds from 0",
        "licence": "Apache-2.0",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    states = {**trainer.averaged(), "vae": vae.state_dict()}
    save_person(out, person_config(), states, provenance)
