"""`mannequin train face`: a face finder and two independent face-embedding networks, from synthetic
people.

"encoder" ships, beside the finder, and feeds identity to PVA; "judge" differs in shape, loss and
seed, and only ever measures. Both learn that the pictures of a person on different days belong
together, whatever the expression, beard, glasses, hair, light and pose.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ...hosts.face_finder import FaceFinder
from ...hosts.faces import CROP, FaceNet
from ...hosts.patches import PatchAutoencoder
from ..people.portrait_shards import write_portraits
from ..people.portraits import FACES
from ..people.shards import write_shards
from . import face_finder
from .autoencoder import shipped
from .face_measures import calibrate, evaluate
from .inpaint import (
    HELDOUT_PORTRAITS,
    HELDOUT_SETS,
    PORTRAITS,
)
from .inpaint_data import Pool
from .loop import Schedule, Trainer
from .models import PERSON_WEIGHTS

STEPS, PEOPLE, PICTURES = 2000, 24, 3
FINDER_SETS = 1024
WEIGHTS = PERSON_WEIGHTS.parent / "faces" / "mannequin-tiny-face.safetensors"


@dataclass(frozen=True)
class Design:
    """A network's shape, its loss ("contrastive" or "prototypes") and its seed."""

    widths: tuple[int, ...]
    dimension: int
    loss: str
    seed: int


DESIGNS = {
    "encoder": Design((8, 24, 48, 96, 128), 128, "contrastive", 1),
    "judge": Design((8, 32, 56, 96), 96, "prototypes", 2),
}


def prototype_loss(embedding: Tensor, pictures: int, tau: float = 0.1) -> Tensor:
    """Which person of the batch a picture shows, told from the mean of every person's other
    pictures (prototypical networks, Snell et al. 2017, eq. 2, with cosines).

    embedding [people * pictures, D], a person's pictures in a row.
    """
    e = F.normalize(embedding, dim=-1).unflatten(0, (-1, pictures))
    whole = e.sum(1)
    others = F.normalize(whole, dim=-1)
    own = F.normalize(whole.unsqueeze(1) - e, dim=-1)
    logits = e @ others.mT
    person = torch.arange(len(e))
    logits[person, :, person] = (e * own).sum(-1)
    return F.cross_entropy(logits.flatten(0, 1) / tau, person.repeat_interleave(pictures))


def contrastive_loss(embedding: Tensor, person: Tensor, tau: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2): every other picture of one's own
    person against all other pictures of the batch. embedding [B, D]; person [B].
    """
    e = F.normalize(embedding, dim=-1)
    itself = torch.eye(len(e), dtype=torch.bool)
    logits = (e @ e.mT / tau).masked_fill(itself, float("-inf"))
    log = logits.log_softmax(1).masked_fill(itself, 0)
    same = (person[:, None] == person) & ~itself
    return -((log * same).sum(1) / same.sum(1)).mean()


def disturb(picture: Tensor, vae: PatchAutoencoder, g: torch.Generator) -> Tensor:
    """What must not matter, [B, 3, 64, 64]: mirror, place, size, brightness, contrast, a missing
    patch, blur, and half of the time the autoencoder, since painted faces come out of it."""
    count = len(picture)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=g) * (high - low) + low

    size = draw(0.86, 1.1)
    flip = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = size * flip, size
    matrix[:, :, 2] = draw(-0.1, 0.1, 2)
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    out = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
    coded = draw(0, 1) < 0.5
    out[coded] = vae.decode(vae.encode(out[coded])).clamp(-1, 1)
    soft = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)
    out = torch.lerp(out, soft, draw(-0.6, 1.0, 1, 1, 1).clamp_min(0))
    out = ((out + 1) * draw(0.8, 1.2, 1, 1, 1) - 1) * draw(0.85, 1.15, 1, 1, 1)
    x, y = draw(0, CROP - 16), draw(0, CROP - 16)
    hide = draw(0, 1) < 0.3
    at = torch.arange(CROP)
    inside = (at >= x[:, None]) & (at < x[:, None] + 16)
    patch = inside[:, None, :] & ((at >= y[:, None]) & (at < y[:, None] + 16))[:, :, None]
    return out.masked_fill((patch & hide[:, None, None])[:, None], 0).clamp(-1, 1)


class FaceLoss:
    """One batch: PEOPLE people with PICTURES pictures each."""

    def __init__(self, design: Design, net: nn.Module, pool: Pool) -> None:
        self.design, self.net, self.pool = design, net, pool
        self.vae = shipped()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        people = torch.randperm(len(self.pool) // FACES, generator=g)[:PEOPLE]
        which = torch.stack([torch.randperm(FACES, generator=g)[:PICTURES] for _ in people])
        image, _ = self.pool.take((people[:, None] * FACES + which).flatten())
        picture = image.movedim(-1, 1).float() / 127.5 - 1
        embedding = self.net(disturb(picture, self.vae, g))
        person = people.repeat_interleave(PICTURES)
        if self.design.loss == "prototypes":
            return {"total": prototype_loss(embedding, PICTURES)}
        return {"total": contrastive_loss(embedding, person)}


def train(name: str, pool: Pool, checkpoint: Path, steps: int) -> tuple[Trainer, FaceNet]:
    """Trains or resumes one of DESIGNS; the returned network has the averaged weights."""
    design = DESIGNS[name]
    torch.manual_seed(design.seed)
    net = FaceNet(design.widths, design.dimension)
    schedule = Schedule(steps, rate=1e-3, decay=0.5)
    trainer = Trainer({"net": net}, schedule, checkpoint, design.seed, every=120.0)
    trainer.run(FaceLoss(design, net, pool))
    net.load_state_dict(trainer.averaged()["net"])
    return trainer, net.eval()


def export(
    trainer: Trainer,
    net: FaceNet,
    design: Design,
    people: int,
    out: Path,
    finder: tuple[Trainer, FaceFinder] | None = None,
    measured: dict[str, float] | None = None,
) -> None:
    """Writes `face.*`, and `finder.*` where there is one, in half precision, with where they come
    from. measured: what `calibrate` says."""
    rooms: dict[str, nn.Module] = {"face": net}
    config: dict[str, Any] = {
        "family": "mannequin-tiny-face",
        "widths": list(design.widths),
        "dimension": design.dimension,
    }
    provenance = {
        "made_by": "mannequin train face",
        "data": f"{people} synthetic people of lab/people, portraits-1, split train, from 0",
        "licence": "Apache-2.0",
        "seed": design.seed,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    if finder is not None:
        rooms["finder"] = finder[1]
        config["finder"] = {"widths": list(face_finder.WIDTHS)}
        provenance["finder_steps"] = finder[0].step
        provenance["finder_training_seconds"] = round(finder[0].seconds)
    if measured is not None:
        config["alike"] = measured["alike"]
        provenance["calibration"] = measured
    tensors = {
        f"{room}.{k}": v.to(torch.float16).contiguous()
        for room, module in rooms.items()
        for k, v in module.state_dict().items()
    }
    about = {"mannequin": json.dumps(config), "provenance": json.dumps(provenance), "format": "pt"}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    save_file(tensors, partial, about)
    partial.replace(out)


def main(arguments: list[str]) -> None:
    """Renders, trains and writes the weights. Interrupted, it goes on where it was."""
    parser = argparse.ArgumentParser("mannequin train face", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="people to render")
    parser.add_argument("--sets", type=int, default=FINDER_SETS, help="whole-body sets to render")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    work = options.work
    write_portraits(work / "portraits-heldout", 0, HELDOUT_PORTRAITS, "heldout")
    write_portraits(work / "portraits", 0, options.portraits, "train")
    write_shards(work / "heldout", 0, HELDOUT_SETS, "heldout")
    write_shards(work / "train", 0, options.sets, "train")
    run(work, options.out, options.steps)


def run(work: Path, out: Path, steps: int) -> None:
    """Trains the networks on what `work` holds; the judge is written beside the encoder."""
    pool, unseen = Pool("face", work / "portraits"), Pool("face", work / "portraits-heldout")
    for name, design in DESIGNS.items():
        trainer, net = train(name, pool, work / f"face-{name}.safetensors", steps)
        print(json.dumps({name: evaluate(net, unseen)}), flush=True)
        people = len(pool) // FACES
        if name == "encoder":
            measured = calibrate(net, unseen)
            print(json.dumps({"calibration": measured}), flush=True)
            finder = face_finder.train(
                lambda: face_finder.scenes(work, "train"), work / "face-finder.safetensors"
            )
            counts = face_finder.evaluate(finder[1], face_finder.scenes(work, "heldout"))
            print(json.dumps({"finder": counts}), flush=True)
            export(trainer, net, design, people, out, finder, measured)
        else:
            export(trainer, net, design, people, out.with_stem(f"{out.stem}-{name}"))
