"""`mannequin train moa-tiny`: a mixture of attention beside the frozen tiny inpainting model.

What learns: the personalised expert and the router of every self- and cross-attention, and the MLP
that binds a picture to a word. Scenes of one to three people, and faces alone, some with masks of
the people; references are pictures of the same people on other days.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.faces import FaceNet
from ...hosts.lending import lend
from ...hosts.routers import write_router
from ...methods.moa import MoA
from ...methods.moa_losses import (
    RouteTap,
    balanced_l1,
    masked_error,
    mixing,
    people_loss,
    router_loss,
)
from ...methods.moa_weights import MoAWeights
from ...methods.person import latent_mask
from ...methods.personalize import Base, stratified
from ...methods.routes import resample
from .autoencoder import shipped
from .inpaint import FLOOR
from .inpaint_data import Pool
from .inpaint_features import FaceFeatures
from .loop import Schedule, Trainer
from .moa_learned import BranchAlone, Learned, begin
from .moa_scenes import EMBEDDING, Scenes, draw_faces, draw_scenes
from .models import PERSON_WEIGHTS
from .parallel import launch, processes, rank
from .pva_tiny import face_vectors, load_face_net
from .scene_data import ScenePool

SEED = 1
STEPS, DECAY, ROWS, FACE_ROWS, RATE = 7200, 0.3, 6, 8, 1e-3
SCENES, ALONE = 0.75, 0.15  # shares of the steps: scenes, the branch without its router
# Shares of the rows: noise only, and so much of it that colours of skin and hair no longer shine
# through. With less of either the branch leaves people the colours that they had in the noise.
PURE_NOISE, NOISY, FROM = 0.3, 0.35, 0.8
KEEP, ROUTE, OWN, BALANCE, MIXED = 4.0, 2.0, 0.5, 0.2, 0.3  # of the losses beside the denoising
UNPAINTED = 0.15
BASE_NAME = "mannequin-tiny-inpaint"
WEIGHTS = PERSON_WEIGHTS.parent / "routers" / "mannequin-tiny-moa.safetensors"


class MoALoss:
    """Masked denoising of the subjects, the prior's own prediction elsewhere, the router's loss and
    the words' balanced L1 (the paper's losses; that the background is compared with the prior
    instead of the picture, `people_loss`, `mixing` and all weights are our design).

    In ALONE of the steps the branch acts without its router and learns the whole picture. features:
    what a face network makes of the painted people counts too.
    """

    def __init__(
        self,
        base: Base,
        tokenizer: object,
        learned: Learned,
        faces: Pool,
        vectors: Tensor,
        features: FaceFeatures | None = None,
    ) -> None:
        self.base, self.tokenizer, self.learned = base, tokenizer, learned
        self.features = features
        self.faces, self.scenes, self.vectors = faces, ScenePool(faces), vectors

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
        if rng.random() < SCENES:
            batch = draw_scenes(self.scenes, ROWS, self.vectors, self.tokenizer, rng)
        else:
            batch = draw_faces(self.faces, FACE_ROWS, self.vectors, self.tokenizer, rng)
        return self.of(batch, g, alone=rng.random() < ALONE)

    def of(self, batch: Scenes, g: torch.Generator, alone: bool = False) -> dict[str, Tensor]:
        """The terms of one batch."""
        base, rows = self.base, len(batch.picture)
        hidden = batch.region.unsqueeze(-1)
        x0 = base.encode(batch.picture)
        seen = base.paint(batch.picture * (1 - hidden) + 0.5 * hidden, batch.region)
        text = base.speak(batch.prompts, None)
        sigma = base.sigmas[draw_times(rows, len(base.sigmas), g)]
        x = x0 + sigma.view(-1, 1, 1, 1) * torch.randn(x0.shape, generator=g)
        people = batch.masks.amax(1)
        cells = resample(people, tuple(x0.shape[-2:])).unsqueeze(1)
        hole = latent_mask(batch.region, tuple(x0.shape[-2:]))
        painted = UNPAINTED + hole
        noise = (sigma.square() / (1 + sigma.square())).view(-1, 1, 1, 1)
        weight = painted / (noise + FLOOR)
        if alone:
            method = BranchAlone(self.learned.weights(), batch.bound, sigmas=sigma)
            out = base.predict(x, sigma, text, seen, (method,))
            error = masked_error((out - x0).square() * weight, torch.ones_like(cells))
            seen_as = sum(self._features(out, x0, hole, g))
            return {"total": error + seen_as, "alone": error}
        with torch.no_grad():
            prior = base.predict(x, sigma, text, seen, ())
        tap = RouteTap()
        method = MoA(self.learned.weights(), batch.bound, record=tap, sigmas=sigma)
        out = base.predict(x, sigma, text, seen, (method,))
        terms = {
            "people": masked_error((out - x0).square() * weight, cells),
            "kept": masked_error((out - prior).square() * weight, 1 - cells),
            "router": router_loss(tap, people, self.learned.config["layers"]),
            "own": people_loss(tap, people, self.learned.config["layers"]),
            "balance": balanced_l1(tap, batch.masks, batch.present),
            "mixed": mixing(tap, batch.masks, batch.present),
        }
        shares = (1.0, KEEP, ROUTE, OWN, BALANCE, MIXED)
        total = sum(share * term for share, term in zip(shares, terms.values(), strict=True))
        return {"total": total + sum(self._features(out, x0, cells * hole, g)), **terms}

    def _features(
        self, out: Tensor, x0: Tensor, mask: Tensor, g: torch.Generator
    ) -> Iterable[Tensor]:
        return self.features(out, x0, mask, g).values() if self.features else ()


def draw_times(count: int, levels: int, g: torch.Generator) -> Tensor:
    """Timesteps 0..levels - 1, [count]: in strata, a share at the end, a share near it."""
    t, kind = stratified(count, levels, g), torch.rand(count, generator=g)
    near = torch.randint(int(FROM * levels), levels, (count,), generator=g)
    t = torch.where(kind < PURE_NOISE + NOISY, near, t)
    return torch.where(kind < PURE_NOISE, levels - 1, t)


def train(
    model: host.PersonModel,
    clip: object,
    base: Base,
    net: FaceNet,
    faces: Pool,
    checkpoint: Path,
    steps: int,
    features: FaceFeatures | None = None,
) -> tuple[Trainer, Learned]:
    """Trains or resumes; returns trainer and what it trained."""
    vectors = face_vectors(net, faces)
    learned = begin(model, BASE_NAME, EMBEDDING, vectors.shape[-1], SEED)
    schedule = Schedule(steps, rate=RATE, decay=DECAY)
    trainer = Trainer({"moa": learned}, schedule, checkpoint, SEED, every=120.0)
    trainer.run(MoALoss(base, clip.tokenizer, learned, faces, vectors, features))
    return trainer, learned


def export(trainer: Trainer, learned: Learned, out: Path) -> MoAWeights:
    """Writes the averaged weights in half precision, with where they come from; `processes` as
    many as train together now.
    """
    provenance = {
        "made_by": "mannequin train moa-tiny",
        "data": "synthetic people of lab/people, portraits-1, split train, from 0, and scenes "
        "composed of them",
        "licence": "Apache-2.0",
        "seed": SEED,
        "steps": trainer.step,
        "processes": processes(),
        "training_seconds": round(trainer.seconds),
    }
    weights = learned.weights_of(trainer.averaged()["moa"], provenance)
    write_router(out, weights)
    return weights


def main(arguments: list[str]) -> None:
    """Trains from a working folder that `train inpaint` and `train face` have filled. Interrupted,
    it goes on where it was.
    """
    parser = argparse.ArgumentParser("mannequin train moa-tiny", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--base", type=Path, required=True, help="the trained inpainting model")
    parser.add_argument("--faces", type=Path, required=True, help="the trained face network")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--processes", type=int, default=1, help="each with a batch of its own")
    options = parser.parse_args(arguments)
    files = options.work, options.base, options.faces, options.out
    launch(options.processes, run, *files, options.steps)


def run(work: Path, base: Path, faces: Path, out: Path, steps: int) -> None:
    """Trains on what `work` holds and writes `out`."""
    pool = Pool("face", work / "portraits")
    model, clip, vae = host.load_inpaint_model(base)
    with lend(host, model, clip, vae) as lent:
        net = load_face_net(faces)
        features = FaceFeatures(net, shipped(base))
        trained = train(model, clip, lent, net, pool, work / "moa.safetensors", steps, features)
    if rank() == 0:
        export(*trained, out)
