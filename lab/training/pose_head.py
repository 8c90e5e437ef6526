"""`mannequin train pose-head`: joints read from latents; writes the pose model that ships.

The head is trained on rendered people's latents, worn down, and on predictions of mannequin-tiny;
the file takes the field of `mannequin train pose-field` along.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.pose_head import KeypointHead, write_pose_model
from .hand_detector import UNSEEN, error_of
from .loop import Schedule, Trainer
from .pose_field import FILE as FIELD
from .pose_field import load_field
from .pose_head_data import LEVELS, LatentPool, Predictions, predictions, worn
from .pose_head_random import pose_config
from .tiny import WEIGHTS as PERSON

SEED, STEPS, BATCH, RATE = 10, 3000, 32, 2e-3
PREDICTED, SHARE = 3072, 0.4  # predictions made once; their share of a batch
UNSEEN_PREDICTED = 192
PEAK = 0.9  # cells: width of the peak that is aimed at
PLACE, SURE = 20.0, 0.5  # weights beside the cross-entropy
HEIGHT = 128
FILE = "pose-head.safetensors"
WEIGHTS = PERSON.parent / "poses" / "mannequin-tiny-pose.safetensors"


def head_loss(head: KeypointHead, latents: Tensor, points: Tensor) -> dict[str, Tensor]:
    """Cross-entropy against a peak at each point, distance of the soft argmax (in picture
    heights), and whether the point is seen; points outside the picture count for the last alone,
    covered ones for the first two by UNSEEN.
    """
    places, seen = head.maps(latents)
    h, w = places.shape[-2:]
    at, size = points[..., :2], points.new_tensor([w, h]) * head.downscale
    weight = torch.where(points[..., 2] > 0, 1.0, UNSEEN) * ((at >= 0) & (at < size)).all(-1)
    far = (head.middles(h, w, places) - at.unsqueeze(2)).square().sum(-1)
    aim = (-far / (2 * (PEAK * head.downscale) ** 2)).softmax(-1)
    entropy = -(aim * places.flatten(2).log_softmax(-1)).sum(-1)
    found = head.points(places, seen)
    away = (found[..., :2] - at).norm(dim=-1) / size[1]
    many = weight.sum().clamp_min(1)
    terms = {"map": (entropy * weight).sum() / many, "place": (away * weight).sum() / many}
    sure = found[..., 2].clamp(1e-4, 1 - 1e-4)
    terms["seen"] = F.binary_cross_entropy(sure, (points[..., 2] > 0).float())
    total = terms["map"] + PLACE * terms["place"] + SURE * terms["seen"]
    return {"total": total, **{name: term.detach() for name, term in terms.items()}}


class HeadLoss:
    """A batch of worn latents, and of the model's own predictions where there are some."""

    def __init__(
        self, head: KeypointHead, pool: LatentPool, predicted: Predictions | None, wear: bool
    ) -> None:
        self.head, self.pool, self.predicted, self.wear = head, pool, predicted, wear

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        other = 0 if self.predicted is None else round(BATCH * SHARE)
        which = torch.randint(len(self.pool), (BATCH - other,), generator=g)
        latents, points = self.pool.take(which, torch.rand(len(which), generator=g) < 0.5)
        if self.wear:
            latents = worn(latents, g)
        if self.predicted is not None:
            own = torch.randint(len(self.predicted.x0), (other,), generator=g)
            latents = torch.cat([latents, self.predicted.x0[own].float()])
            points = torch.cat([points, self.predicted.points[own]])
        return head_loss(self.head, latents, points)


@torch.inference_mode()
def evaluate(
    head: KeypointHead, pool: LatentPool, predicted: Predictions, count: int = 256
) -> dict[str, float]:
    """Mean error of seen points in picture heights on held-out people: their latents, the same worn
    down, and the model's predictions at every noise level; and how often "seen" is right.
    """
    which = torch.arange(min(count, len(pool)))
    latents, points = pool.take(which, torch.zeros(len(which), dtype=torch.bool))
    clean = head(latents)

    def off(found: Tensor, truth: Tensor) -> float:
        return round(float(error_of(found, truth, HEIGHT).nanmean()), 4)

    found = {"clean": off(clean, points)}
    found["worn"] = off(head(worn(latents, torch.Generator().manual_seed(SEED))), points)
    read = head(predicted.x0.float())
    for level in LEVELS:
        rows = predicted.timestep == level
        if rows.any():
            found[f"predicted_{level}"] = off(read[rows], predicted.points[rows])
    right = (clean[..., 2] > 0.5) == (points[..., 2] > 0)
    return {**found, "seen": round(float(right.float().mean()), 4)}


def run(
    work: Path,
    out: Path | None,
    steps: int,
    person: Path = PERSON,
    wear: bool = True,
    predicted: int = PREDICTED,
) -> dict[str, float]:
    """Trains on what `work` holds, or goes on; returns what is held out, and writes `out` when
    given. Raises ValueError when the field has not been trained.

    wear, predicted: whether rendered latents are worn down, and how many predictions are learned
    from, 0 for none; each setting has a checkpoint of its own.
    """
    field, told = load_field(work / FIELD)
    model, vae = host.load_person_model(person)
    scale = host.model_config(model)["latent_scale"]
    own = None
    if predicted:
        path = work / f"pose-head-x0-{predicted}.safetensors"
        own = predictions(path, model, vae, work / "train", predicted, SEED)
    unseen = work / f"pose-head-x0-heldout-{UNSEEN_PREDICTED}.safetensors"
    other = predictions(unseen, model, vae, work / "heldout", UNSEEN_PREDICTED, SEED)
    torch.manual_seed(SEED)
    config = {**pose_config(), "latent_scale": scale}
    head = KeypointHead(**config["head"])
    marks = ("" if wear else "-unworn") + ("" if own else "-unpredicted")
    checkpoint = work / FILE.replace(".", f"{marks}.")
    schedule = Schedule(steps, rate=RATE, decay=0.5)
    trainer = Trainer({"head": head}, schedule, checkpoint, SEED, every=60)
    pool = LatentPool(work / "train", vae, scale)
    trainer.run(HeadLoss(head, pool, own, wear))
    head.load_state_dict(trainer.averaged()["head"])
    found = evaluate(head.train(False), LatentPool(work / "heldout", vae, scale), other)
    print(json.dumps({"heldout": found, "steps": trainer.step}), flush=True)
    if out is not None:
        provenance = {
            "made_by": "mannequin train pose-field, mannequin train pose-head",
            "data": "synthetic people of lab/people, people-1, split train, seeds from 0; "
            "predictions of mannequin-tiny for them",
            "licence": "Apache-2.0",
            "seed": SEED,
            "steps": trainer.step,
            "training_seconds": round(trainer.seconds),
            "field": told,
            "heldout_error": found,
        }
        write_pose_model(out, config, head.state_dict(), field.state_dict(), provenance)
    return found


def main(arguments: list[str]) -> None:
    """Trains in a working folder that holds rendered people and a trained pose field."""
    parser = argparse.ArgumentParser("mannequin train pose-head", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--person", type=Path, default=PERSON, help="the person model")
    parser.add_argument("--unworn", action="store_true", help="leave rendered latents as they are")
    parser.add_argument(
        "--predicted", type=int, default=PREDICTED, help="predictions to learn from, 0 for none"
    )
    parser.add_argument("--dry", action="store_true", help="measure only, write no pose model")
    options = parser.parse_args(arguments)
    out = None if options.dry else options.out
    run(options.work, out, options.steps, options.person, not options.unworn, options.predicted)
