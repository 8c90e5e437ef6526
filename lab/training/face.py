"""`mannequin train face`: two independent face-embedding networks, from synthetic people.

"encoder" ships and feeds identity to PVA; "judge" differs in shape, loss and seed, and only ever
measures. Both learn that the pictures of a person on different days belong together, whatever the
expression, beard, glasses, hair, light and pose.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ...hosts.faces import CROP, FaceNet
from ...hosts.patches import PatchAutoencoder
from ..people.portrait_shards import write_portraits
from ..people.portraits import FACES
from .inpaint import HELDOUT_PORTRAITS, PERSON_WEIGHTS, PORTRAITS, tiny_autoencoder
from .inpaint_data import Pool
from .loop import Schedule, Trainer

STEPS, PEOPLE, PICTURES = 4000, 24, 3
WEIGHTS = PERSON_WEIGHTS.with_name("mannequin-tiny-face.safetensors")


@dataclass(frozen=True)
class Design:
    """A network's shape, its loss ("margin" or "contrastive") and its seed."""

    widths: tuple[int, ...]
    dimension: int
    loss: str
    seed: int


DESIGNS = {
    "encoder": Design((16, 32, 64, 96, 128), 128, "margin", 1),
    "judge": Design((24, 40, 56, 112), 96, "contrastive", 2),
}


def margin_loss(
    embedding: Tensor, centres: Tensor, person: Tensor, margin: float = 0.2, scale: float = 20.0
) -> Tensor:
    """Additive cosine margin (CosFace, Wang et al. 2018, eq. 4).

    Formula: cross-entropy of scale * (cos(e_i, c_j) - margin * [j is i's person]).
    embedding [B, D]; centres [people, D]; person [B] indices.
    """
    cosine = F.normalize(embedding, dim=-1) @ F.normalize(centres, dim=-1).mT
    own = F.one_hot(person, len(centres)).to(cosine)
    return F.cross_entropy(scale * (cosine - margin * own), person)


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

    def __init__(self, design: Design, net: nn.Module, centres: nn.Module, pool: Pool) -> None:
        self.design, self.net, self.centres, self.pool = design, net, centres, pool
        self.vae = tiny_autoencoder()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        people = torch.randperm(len(self.pool) // FACES, generator=g)[:PEOPLE]
        which = torch.stack([torch.randperm(FACES, generator=g)[:PICTURES] for _ in people])
        image, _ = self.pool.take((people[:, None] * FACES + which).flatten())
        picture = image.movedim(-1, 1).float() / 127.5 - 1
        embedding = self.net(disturb(picture, self.vae, g))
        person = people.repeat_interleave(PICTURES)
        if self.design.loss == "margin":
            return {"total": margin_loss(embedding, self.centres.weight, person)}
        return {"total": contrastive_loss(embedding, person)}


def train(name: str, pool: Pool, checkpoint: Path, steps: int) -> tuple[Trainer, FaceNet]:
    """Trains or resumes one of DESIGNS; the returned network has the averaged weights."""
    design = DESIGNS[name]
    torch.manual_seed(design.seed)
    net = FaceNet(design.widths, design.dimension)
    centres = nn.Embedding(len(pool) // FACES, design.dimension)
    trained = {"net": net, "centres": centres} if design.loss == "margin" else {"net": net}
    schedule = Schedule(steps, rate=1e-3, decay=0.5)
    trainer = Trainer(trained, schedule, checkpoint, design.seed, every=120.0)
    trainer.run(FaceLoss(design, net, centres, pool))
    net.load_state_dict(trainer.averaged()["net"])
    return trainer, net.eval()


@torch.inference_mode()
def evaluate(net: FaceNet, pool: Pool) -> dict[str, float]:
    """How well held-out people are told apart.

    same, other: mean cosine of pairs of one person and of two people; accepted: share of pairs of
    one person above what 1% of the pairs of two people reach; accepted_alike: the same, where the
    two people share gender, age and skin tone; first: share of pictures whose nearest other
    picture is of the same person; groups: "accepted" by skin tone, gender and age.
    """
    image, _ = pool.take(torch.arange(len(pool)))
    e = F.normalize(net(image.movedim(-1, 1).float() / 127.5 - 1), dim=-1)
    cosine = e @ e.mT
    person = torch.arange(len(pool)) // FACES
    group = [(f["gender"], f["age"], f["skin_tone"]) for f in pool.facts]
    kinds = {kind: i for i, kind in enumerate(sorted(set(group)))}
    alike = torch.tensor([kinds[one] for one in group])
    same = (person[:, None] == person).fill_diagonal_(False)
    other = person[:, None] != person
    near = other & (alike[:, None] == alike)
    limit, limit_alike = (float(cosine[pairs].quantile(0.99)) for pairs in _few(other, near))
    nearest = cosine.clone().fill_diagonal_(-2).argmax(1)
    out: dict[str, Any] = {
        "same": float(cosine[same].mean()),
        "other": float(cosine[other].mean()),
        "accepted": float((cosine[same] > limit).float().mean()),
        "accepted_alike": float((cosine[same] > limit_alike).float().mean()),
        "first": float((person[nearest] == person).float().mean()),
    }
    for key in ("skin_tone", "gender", "age"):
        for value in sorted({f[key] for f in pool.facts}):
            rows = torch.tensor([f[key] == value for f in pool.facts])
            pairs = same & rows[:, None]
            out[f"accepted_{key}_{value}"] = float((cosine[pairs] > limit).float().mean())
    return {name: round(value, 3) for name, value in out.items()}


def _few(*masks: Tensor) -> list[Tensor]:
    """At most a million pairs of each mask, which is what quantile() takes."""
    rng = np.random.default_rng(0)
    out = []
    for mask in masks:
        where = mask.flatten().nonzero()[:, 0]
        if len(where) > 1_000_000:
            where = where[torch.from_numpy(rng.permutation(len(where))[:1_000_000])]
        some = torch.zeros(mask.numel(), dtype=torch.bool)
        some[where] = True
        out.append(some.view_as(mask))
    return out


def export(trainer: Trainer, net: FaceNet, design: Design, people: int, out: Path) -> None:
    """Writes `face.*` in half precision, with where it comes from."""
    tensors = {f"face.{k}": v.to(torch.float16).contiguous() for k, v in net.state_dict().items()}
    config = {
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
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    work = options.work
    write_portraits(work / "portraits-heldout", 0, HELDOUT_PORTRAITS, "heldout")
    write_portraits(work / "portraits", 0, options.portraits, "train")
    run(work, options.out, options.steps)


def run(work: Path, out: Path, steps: int) -> None:
    """Trains both networks on what `work` holds; the judge is written beside the encoder."""
    pool, unseen = Pool("face", work / "portraits"), Pool("face", work / "portraits-heldout")
    for name, design in DESIGNS.items():
        trainer, net = train(name, pool, work / f"face-{name}.safetensors", steps)
        print(json.dumps({name: evaluate(net, unseen)}), flush=True)
        target = out if name == "encoder" else out.with_stem(f"{out.stem}-{name}")
        export(trainer, net, design, len(pool) // FACES, target)
