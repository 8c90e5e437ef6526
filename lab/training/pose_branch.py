"""`mannequin train pose-branch`: drawn skeletons beside the frozen tiny inpainting model.

Close-ups of hands and whole people in turn. The base's own loss; only the branch learns.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.lending import lend
from ...hosts.pose_branch import PoseNet, layers_of
from ...methods.personalize import Base, stratified
from ...methods.pose_branch import PoseGuide
from .inpaint import FLOOR, OUTSIDE
from .inpaint_data import NO_TEXT
from .loop import Schedule, Trainer
from .models import PERSON_WEIGHTS
from .pose_data import HIDDEN, PosePool

SEED = 6
STEPS, DECAY, RATE = 4000, 0.3, 5e-4
WIDTHS = (48, 64, 96)
COUNTS = {"hand": 10, "body": 4}
BODIES, PURE_NOISE = 0.4, 0.3  # shares of the steps, and of the rows
WEIGHTS = PERSON_WEIGHTS.parent / "branches" / "mannequin-tiny-pose-branch.safetensors"


class PoseLoss:
    """The base's loss with the branch in place; timesteps in strata, a share of pure noise."""

    def __init__(self, base: Base, net: PoseNet, pools: dict[str, PosePool]) -> None:
        self.base, self.net, self.pools = base, net, pools

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
        domain = "body" if rng.random() < BODIES else "hand"
        return {"total": self.of(domain, COUNTS[domain], g, rng)}

    def of(self, domain: str, count: int, g: torch.Generator, rng: np.random.Generator) -> Tensor:
        """The loss of one batch of a domain."""
        pool, base = self.pools[domain], self.base
        which = torch.randint(len(pool), (count,), generator=g)
        image, label = pool.take(which)
        picture = image.float() / 255
        region = torch.stack([pool.region(one, rng) for one in label])
        drawn = torch.stack([pool.drawing(i, rng.random() < HIDDEN) for i in which.tolist()])
        said = ["" if rng.random() < NO_TEXT else pool.prompt(i, rng) for i in which.tolist()]
        hidden = region.unsqueeze(-1)
        x0, seen = base.encode(picture), base.paint(picture * (1 - hidden) + 0.5 * hidden, region)
        t = stratified(count, len(base.sigmas), g)
        t[torch.rand(count, generator=g) < PURE_NOISE] = len(base.sigmas) - 1
        sigma = base.sigmas[t]
        x = x0 + sigma.view(-1, 1, 1, 1) * torch.randn(x0.shape, generator=g)
        guide = PoseGuide(self.net(drawn.movedim(-1, 1)))
        out = base.predict(x, sigma, base.speak(said, None), seen, (guide,))
        weight = OUTSIDE + seen[:, :1]
        noise = (sigma.square() / (1 + sigma.square())).view(-1, 1, 1, 1)
        error = (out - x0).square() * weight / (noise + FLOOR)
        return error.sum() / weight.sum() / x0.shape[1]


def run(work: Path, base: Path, out: Path, steps: int) -> None:
    """Trains on what `work` holds and writes `out`; goes on from its checkpoint."""
    pools = {"hand": PosePool("hand", work / "portraits"), "body": PosePool("body", work / "train")}
    model, clip, vae = host.load_inpaint_model(base)
    config = {
        "layers": layers_of(host.cross_attention_weights(model)),
        "widths": list(WIDTHS),
        "patch": host.model_config(model)["downscale"],
    }
    torch.manual_seed(SEED)
    net = PoseNet(**config)
    schedule = Schedule(steps, rate=RATE, decay=DECAY)
    trainer = Trainer({"branch": net}, schedule, work / "pose-branch.safetensors", SEED, every=120)
    with lend(host, model, clip, vae) as lent:
        trainer.run(PoseLoss(lent, net, pools))
    export(out, config, trainer)


def export(out: Path, config: dict, trainer: Trainer) -> None:
    """Writes `branch.*` in half precision, atomically, with where it comes from."""
    tensors = {
        f"branch.{name}": t.detach().to(torch.float16).contiguous()
        for name, t in trainer.averaged()["branch"].items()
    }
    about = {"family": "mannequin-tiny-pose-branch", "base": "mannequin-tiny-inpaint"}
    provenance = {
        "made_by": "mannequin train pose-branch",
        "data": "synthetic people of lab/people, people-1 and portraits-1, split train, from 0",
        "licence": "Apache-2.0",
        "seed": SEED,
        "steps": trainer.step,
        "training_seconds": round(trainer.seconds),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    metadata = {
        "mannequin": json.dumps({**about, "net": config}),
        "provenance": json.dumps(provenance),
        "format": "pt",
    }
    save_file(tensors, partial, metadata)
    partial.replace(out)


def main(arguments: list[str]) -> None:
    """Trains from a working folder that `train inpaint` has filled."""
    parser = argparse.ArgumentParser("mannequin train pose-branch", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--base", type=Path, required=True, help="the trained inpainting model")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    run(options.work, options.base, options.out, options.steps)
