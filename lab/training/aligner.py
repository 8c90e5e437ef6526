"""`mannequin train aligner`: the recurrent aligner beside the frozen person model.

First the flow alone, which is cheap, then through the generator: its diffusion loss teaches what
the aligned tokens are to be told. Rendered people tell the true flow; without it (one's own
pictures, or --no-truth) the warped source is compared with the target, as in Leffa's loss.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.aligner import Aligner, AlignerNet, aligner_config, write_aligner
from ...hosts.sites import Call
from ...methods.alignment import (
    Alignment,
    confidence_loss,
    flow_loss,
    likely_visible,
    resized,
    warp_loss,
)
from ...methods.leffa import Reference
from ...methods.reposedm import Aligned
from ...methods.site import Step
from .aligner_data import AlignerBatch, FolderPairs, RenderedPairs
from .data import Shards
from .loop import Schedule, Trainer
from .parallel import launch, rank
from .person import Recipe, draw_timesteps
from .tiny import WEIGHTS as PERSON_WEIGHTS

SEED = 8
STEPS, DECAY, RATE = 3000, 0.3, 1e-3
ALONE = 0.6  # the part of the steps that trains the flow alone
BATCHES = (10, 6)  # rows of a step with the flow alone, and through the generator
LARGEST_K = 4
WEIGHTS = PERSON_WEIGHTS.parent / "aligners" / "mannequin-tiny-aligner.safetensors"


@dataclass(frozen=True)
class Weights:
    """Of the losses. gamma: of an iteration's flow against the next one's."""

    flow: float = 4.0
    start: float = 1.0
    confidence: float = 0.3
    warp: float = 4.0
    diffusion: float = 1.0
    gamma: float = 0.8


class AlignerLoss:
    """The losses of one step; K is drawn from 1 to 4.

    pairs: draws batches. truth: whether the true flow is used where a batch knows it.
    """

    def __init__(
        self,
        model: host.PersonModel,
        net: AlignerNet,
        pairs: RenderedPairs | FolderPairs,
        steps: int,
        truth: bool = True,
        weights: Weights = Weights(),
    ) -> None:
        self.model, self.net, self.pairs = model, net, pairs
        self.steps, self.truth, self.weights = steps, truth, weights

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        through = step >= ALONE * self.steps
        batch = self.pairs.draw(BATCHES[through], g)
        iterations = int(torch.randint(1, LARGEST_K + 1, (), generator=g))
        if through:
            alignment, terms = self._through(batch, iterations, g)
        else:
            poses = batch.source_pose, batch.target_pose
            alignment, terms = self.net(batch.source, *poses, iterations), {}
        terms |= self.of(alignment, batch)
        weights = self.weights
        total = sum(getattr(weights, name) * term for name, term in terms.items())
        return {"total": total, **{name: term.detach() for name, term in terms.items()}}

    def of(self, alignment: Alignment, batch: AlignerBatch) -> dict[str, Tensor]:
        """What is asked of flow and confidence, by truth or by the pictures alone."""
        grid = tuple(alignment.logits.shape[-2:])
        if self.truth and batch.truth is not None:
            known = batch.truth
            sure, visible, asked = (
                resized(x.unsqueeze(1), grid).squeeze(1)
                for x in (known.sure, known.visible, known.known)
            )
            xy = resized(known.xy.movedim(-1, 1), grid).movedim(1, -1)
            return {
                "flow": flow_loss(alignment.flows, xy, sure, self.weights.gamma),
                "start": flow_loss([alignment.start], xy, sure, 1.0),
                "confidence": confidence_loss(alignment.logits, visible, asked),
            }
        pictures = batch.source_picture, batch.target_picture
        steps = [warp_loss(xy, *pictures, batch.person) for xy in alignment.flows]
        gamma = [self.weights.gamma ** (len(steps) - 1 - i) for i in range(len(steps))]
        visible = likely_visible(alignment.flows[-1].detach(), *pictures)
        return {
            "warp": sum(a * b for a, b in zip(gamma, steps, strict=True)) / sum(gamma),
            "confidence": confidence_loss(alignment.logits, visible, torch.ones_like(visible)),
        }

    def _through(
        self, batch: AlignerBatch, iterations: int, g: torch.Generator
    ) -> tuple[Alignment, dict[str, Tensor]]:
        """The generator's own loss with the aligned tokens in place (see `person.PersonLoss`)."""
        count = len(batch.target)
        t = draw_timesteps(count, Recipe(), g)
        a = self.model.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = torch.randn(batch.target.shape, generator=g)
        noisy = a.sqrt() * batch.target + (1 - a).sqrt() * noise
        reference = Reference(torch.empty(0), batch.source[:, None], batch.source_pose[:, None])
        method = Aligned(reference, self.net, None, batch.target_pose, iterations)
        now = Step(math.nan, 0.5, 0, 1, (True,) * count)
        plain, call = (Call(now, tuple(noisy.shape[-2:]), methods) for methods in ((), (method,)))

        def run(inputs: Tensor, _: float) -> dict[str, Tensor]:
            with torch.no_grad():
                return self.model.reference.features(inputs, t, plain)

        method.prepare(now, run)
        out = self.model.unet.forward(torch.cat([noisy, batch.concat], 1), t, call)
        error = (out - batch.target).square() * batch.weight / (1 - a + 0.2)
        return method.align(), {"diffusion": error.mean()}


def layers_of(model: host.PersonModel) -> dict[str, int]:
    """{layer: width} of a person model's reference features."""
    config = model.config
    h, w = (n // config["downscale"] for n in config["size"])
    inputs = torch.zeros(1, config["unet_encoder"]["in_channels"], h, w)
    step = Step(0.0, 0.0, 0, 1, (True,))
    with torch.no_grad():
        bank = model.reference.features(inputs, torch.zeros(1).long(), Call(step, (h, w)))
    return {layer: tokens.shape[-1] for layer, tokens in bank.items()}


def make_trainer(
    config: dict[str, Any], checkpoint: Path, steps: int
) -> tuple[Trainer, AlignerNet]:
    """The trainer and its network; resumes when the checkpoint exists."""
    torch.manual_seed(SEED)
    net = AlignerNet(**config["net"])
    schedule = Schedule(steps, rate=RATE, decay=DECAY)
    return Trainer({"aligner": net}, schedule, checkpoint, SEED, every=120), net


def run(
    work: Path,
    base: Path,
    out: Path,
    steps: int,
    level: int = 0,
    truth: bool = True,
    pictures: Path | None = None,
) -> None:
    """Trains and writes `out`; goes on from its checkpoint in `work`.

    pictures: a folder of one's own instead of the rendered people in work/train. Raises ValueError
    for a base that was not trained with our dense poses.
    """
    model, vae = host.load_person_model(base)
    model_config = host.model_config(model)
    if model_config["dense_pose"] != "iuv-features":
        raise ValueError(
            f"{base}: expected a person model of the tiny family, whose dense poses are "
            f"'iuv-features'; got {model_config['dense_pose']!r}."
        )

    def encode(picture: Tensor) -> Tensor:
        with torch.no_grad():
            return vae.to_latent(picture) * model_config["latent_scale"]

    if pictures is None:
        shards = Shards(work / "train")
        shards.refresh()
        pairs = RenderedPairs(shards, encode)
    else:
        pairs = FolderPairs(pictures, encode, tuple(model_config["size"]))
    config = aligner_config(model_config, layers_of(model), level=level)
    trainer, net = make_trainer(config, work / "aligner.safetensors", steps)
    trainer.run(AlignerLoss(model, net, pairs, steps, truth))
    if rank() == 0:
        net.load_state_dict(trainer.averaged()["aligner"])
        told = "true flow" if truth and pictures is None else "no true flow"
        write_aligner(out, Aligner(config, net, provenance(trainer, pictures, told)))


def provenance(trainer: Trainer, pictures: Path | None, told: str) -> dict[str, Any]:
    """Where the weights come from, for the file's metadata."""
    rendered = "synthetic people of lab/people, people-1, split train, from 0"
    return {
        "made_by": "mannequin train aligner",
        "data": f"{rendered if pictures is None else pictures.name}; {told}",
        "licence": "Apache-2.0" if pictures is None else "as the pictures'",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }


def main(arguments: list[str]) -> None:
    """Trains from a working folder that `train tiny` has filled."""
    parser = argparse.ArgumentParser("mannequin train aligner", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--base", type=Path, default=PERSON_WEIGHTS)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--level", type=int, default=0, help="halvings of the latent's grid")
    parser.add_argument("--no-truth", action="store_true", help="learn from the pictures alone")
    parser.add_argument("--pictures", type=Path, help="a folder of your own: PERSON/NAME.png")
    parser.add_argument("--processes", type=int, default=1, help="each with a batch of its own")
    options = parser.parse_args(arguments)
    settings = (options.level, not options.no_truth, options.pictures)
    paths = (options.work, options.base, options.out)
    launch(options.processes, run, *paths, options.steps, *settings)
