"""`mannequin train pva-tiny`: parallel visual attention beside the frozen tiny inpainting model.

What learns: Q', K', V' of every cross-attention, the identity transformer and one word. Targets
and references are pictures of one person on different days, so that hair, beard, glasses and
expression have to come from the words, and only the person from the references.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.adapters import write_adapter
from ...hosts.faces import FaceNet
from ...hosts.lending import lend
from ...methods.person_adapter import WORD, PersonAdapter
from ...methods.personalize import TEMPLATE, Base, stratified
from ...methods.pva import PVA
from ..people.portraits import FACES
from .autoencoder import shipped
from .inpaint import FLOOR, OUTSIDE
from .inpaint_data import FACE, HAIR, Pool, box_of, free_form, grow
from .inpaint_features import FaceFeatures
from .loop import Schedule, Trainer
from .models import PERSON_WEIGHTS
from .pva_learned import Learned, adapter_of

SEED = 1
STEPS, DECAY, ROWS, RATE = 4000, 0.2, 12, 5e-4
MOST_REFERENCES = 5
PURE_NOISE, TEMPLATE_SHARE, MIRRORED = 0.3, 0.5, 0.25
TUNING = {"rate": 2e-5, "word_rate": 1e-2}  # advised for one person's forty steps
ADAPTERS = PERSON_WEIGHTS.parent / "adapters"
WEIGHTS = ADAPTERS / "mannequin-tiny-pva.safetensors"


@torch.inference_mode()
def face_vectors(net: FaceNet, pool: Pool, batch: int = 256) -> Tensor:
    """The vector of every picture and of its mirror image, [N, 2, D]."""
    out = []
    for start in range(0, len(pool), batch):
        image, _ = pool.take(torch.arange(start, min(start + batch, len(pool))))
        picture = image.movedim(-1, 1).float() / 127.5 - 1
        out.append(torch.stack([net(picture), net(picture.flip(-1))], 1))
    return torch.cat(out).clone()


def load_face_net(path: Path) -> FaceNet:
    """The face network of an exported file."""
    with safe_open(path, framework="pt") as file:
        config = json.loads(file.metadata()["mannequin"])
        stored = {k[5:]: file.get_tensor(k).float() for k in file.keys() if k.startswith("face.")}  # noqa: SIM118
    net = FaceNet(config["widths"], config["dimension"])
    net.load_state_dict(stored)
    return net.eval().requires_grad_(False)


def face_region(label: Tensor, rng: np.random.Generator) -> Tensor:
    """What is painted of a face crop, [H, W]: the whole face dilated or its box, face and hair,
    strokes, or everything.
    """
    face = (label == FACE).float()
    head = torch.isin(label, torch.tensor([FACE, HAIR])).float()
    size = int(rng.integers(1, 6))
    kind = rng.choice(5, p=(0.35, 0.25, 0.15, 0.13, 0.12))
    if kind == 4 or not face.any():
        return torch.ones_like(face)
    if kind == 3:
        return free_form(*label.shape, rng)
    if kind == 1:
        return box_of(face > 0, size).float()
    return grow(head if kind == 2 else face, size)


def draw_references(
    vectors: Tensor, person: Tensor, target: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """1 to MOST_REFERENCES other pictures of each person, some mirrored: vectors [B, R, D] and
    which are there [B, R].

    vectors: [N, 2, D]; person [B] numbers; target [B] numbers of the target among their pictures.
    """
    chosen = torch.zeros(len(person), MOST_REFERENCES, vectors.shape[-1])
    present = torch.zeros(len(person), MOST_REFERENCES, dtype=torch.bool)
    for row, (who, aim) in enumerate(zip(person.tolist(), target.tolist(), strict=True)):
        others = [i for i in range(FACES) if i != aim]
        count = int(rng.integers(1, MOST_REFERENCES + 1))
        picked = rng.permutation(others)[:count]
        sides = (rng.random(count) < MIRRORED).astype(int)
        chosen[row, :count] = vectors[who * FACES + picked, sides]
        present[row, :count] = True
    return chosen, present


class PVALoss:
    """The base's own loss with the branch in place; timesteps in strata, a share of pure noise."""

    def __init__(
        self,
        base: Base,
        learned: Learned,
        pool: Pool,
        vectors: Tensor,
        features: FaceFeatures | None = None,
    ) -> None:
        self.base, self.learned, self.pool, self.vectors = base, learned, pool, vectors
        self.features = features

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
        person = torch.randint(len(self.pool) // FACES, (ROWS,), generator=g)
        target = torch.randint(FACES, (ROWS,), generator=g)
        which = person * FACES + target
        image, label = self.pool.take(which)
        picture = image.float() / 255
        region = torch.stack([face_region(one, rng) for one in label])
        prompts = [
            TEMPLATE if rng.random() < TEMPLATE_SHARE else caption(self.pool.prompt(i, rng), rng)
            for i in which.tolist()
        ]
        base, learned = self.base, self.learned
        hidden = region.unsqueeze(-1)
        x0, seen = base.encode(picture), base.paint(picture * (1 - hidden) + 0.5 * hidden, region)
        t = stratified(ROWS, len(base.sigmas), g)
        t[torch.rand(ROWS, generator=g) < PURE_NOISE] = len(base.sigmas) - 1
        sigma = base.sigmas[t]
        x = x0 + sigma.view(-1, 1, 1, 1) * torch.randn(x0.shape, generator=g)
        tokens = learned.identity(*draw_references(self.vectors, person, target, rng))
        pva = PVA(learned.projections(), tokens)
        out = base.predict(x, sigma, base.speak(prompts, learned.word), seen, (pva,))
        weight = OUTSIDE + seen[:, :1]
        noise = (sigma.square() / (1 + sigma.square())).view(-1, 1, 1, 1)
        error = (out - x0).square() * weight / (noise + FLOOR)
        terms = {"noise": error.sum() / weight.sum() / x0.shape[1]}
        terms |= self.features(out, x0, seen[:, :1], g) if self.features else {}
        total = torch.stack(list(terms.values())).sum()
        return {"total": total, **{name: term.detach() for name, term in terms.items()}}


def caption(said: str, rng: np.random.Generator) -> str:
    """Half of the captions with the learned word in them."""
    if rng.random() < 0.5:
        return said
    return re.sub("^the face of an? ", f"photo of a {WORD} ", said)


def train(
    base: Base,
    word: Tensor,
    net: FaceNet,
    pool: Pool,
    checkpoint: Path,
    steps: int,
    features: FaceFeatures | None = None,
) -> tuple[Trainer, Learned]:
    """Trains or resumes; returns trainer and what it trained. word: the embedding that the word
    starts at.
    """
    torch.manual_seed(SEED)
    vectors = face_vectors(net, pool)
    learned = Learned(base.layers, vectors.shape[-1], word)
    schedule = Schedule(steps, rate=RATE, decay=DECAY)
    trainer = Trainer({"pva": learned}, schedule, checkpoint, SEED, every=120.0)
    trainer.run(PVALoss(base, learned, pool, vectors, features))
    return trainer, learned


def export(trainer: Trainer, learned: Learned, out: Path) -> PersonAdapter:
    """Writes the adapter in half precision, with where it comes from."""
    averaged = trainer.averaged()["pva"]
    adapter = adapter_of(learned, averaged, "mannequin-tiny-face", "mannequin-tiny-inpaint")
    provenance = {
        "made_by": "mannequin train pva-tiny",
        "data": "synthetic people of lab/people, portraits-1, split train, from 0",
        "licence": "Apache-2.0",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    config = {**adapter.config, "tuning": TUNING}
    adapter = replace(adapter, config=config, provenance=provenance)
    write_adapter(out, adapter)
    return adapter


def main(arguments: list[str]) -> None:
    """Trains from a working folder that `train inpaint` and `train face` have filled."""
    parser = argparse.ArgumentParser("mannequin train pva-tiny", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--base", type=Path, required=True, help="the trained inpainting model")
    parser.add_argument("--faces", type=Path, required=True, help="the trained face network")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    run(options.work, options.base, options.faces, options.out, options.steps)


def run(work: Path, base: Path, faces: Path, out: Path, steps: int) -> None:
    """Trains on what `work` holds and writes `out`."""
    pool = Pool("face", work / "portraits")
    model, clip, vae = host.load_inpaint_model(base)
    word = clip.encoder.embed.weight[clip.tokenizer.index[WORD]]
    checkpoint, net = work / "pva.safetensors", load_face_net(faces)
    features = FaceFeatures(net, shipped(base))
    with lend(host, model, clip, vae) as lent:
        trained = train(lent, word, net, pool, checkpoint, steps, features)
    export(*trained, out)
