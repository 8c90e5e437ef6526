"""Trains the tiny person model: pose transfer and try-on together, by Leffa's recipe.

Beyond the diffusion loss: the true flow supervises the attention throughout (our design: rendered
people know it), and the Leffa loss joins in the last phase, for timesteps below 500.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts.patches import PatchAutoencoder
from ...hosts.sampling import NoiseSchedule
from ...hosts.sites import Call
from ...hosts.unet import SiteUNet
from ...methods.flow_record import CorrespondenceTap
from ...methods.leffa import Leffa, Reference, leffa_loss
from ...methods.person import encode_dense_pose, generator_concat, latent_mask
from ...methods.site import Step
from ..people.estimator import degrade_dense_pose
from .data import (
    Shards,
    garment_region,
    pair_index,
    pictures,
)
from .loop import Schedule, Trainer
from .models import make_person

TRY_ON, SOURCE_POSE_UNKNOWN, NO_REFERENCE, DEGRADED = 0.4, 0.25, 0.06, 0.5
LAYERS = ("up.1.1", "up.2.1")


@dataclass(frozen=True)
class Recipe:
    """Weights of the losses, and which timesteps are drawn.

    leffa_below: the Leffa loss is for timesteps below it; tau: its temperature. pure_noise: share
    of samples at the last timestep; the others' are 999 sigmoid(N(noise_mean, 1.2)).
    """

    flow: float = 1.0
    leffa: float = 0.0
    leffa_below: int = 500
    tau: float = 2.0
    pure_noise: float = 0.45
    noise_mean: float = 1.0
    batch: int = 8


Phases = tuple[tuple[float, Recipe], ...]
PHASES: Phases = ((0.0, Recipe()), (0.6, Recipe(leffa=0.1, pure_noise=0.3, noise_mean=0.0)))


@dataclass
class Batch:
    """One batch, latents at [B, ., h, w] and pictures at [B, 3, H, W]."""

    target: Tensor
    source: Tensor
    concat: Tensor
    source_pose: Tensor
    weight: Tensor
    flow: Tensor
    visible: Tensor
    source_picture: Tensor
    target_picture: Tensor
    person: Tensor


class PairBatches:
    """Draws source and target from the same set: two pictures of one person (pose transfer), or
    two people in the same top (try-on).
    """

    def __init__(self, shards: Shards, vae: PatchAutoencoder, batch: int) -> None:
        self.shards, self.vae, self.batch = shards, vae, batch

    def draw(self, g: torch.Generator) -> Batch:
        b = self.batch

        def chance(share: float) -> Tensor:
            return torch.rand(b, generator=g) < share

        sets = torch.randint(self.shards.sets, (b,), generator=g)
        target = torch.randint(3, (b,), generator=g)
        source = (target + torch.randint(1, 3, (b,), generator=g)) % 3
        try_on = chance(TRY_ON)
        swap = try_on & chance(0.75)
        other = torch.full_like(source, 3)
        backwards = swap & chance(0.3)
        source = torch.where(swap, torch.where(backwards, target, other), source)
        target = torch.where(backwards, other, target)
        take = self.shards.gather
        iuv_t, iuv_s = take("dense_pose", sets, target), take("dense_pose", sets, source)
        bad = chance(DEGRADED)[:, None, None, None]
        iuv_t = torch.where(bad, degrade_dense_pose(iuv_t, g), iuv_t)
        iuv_s = torch.where(bad, degrade_dense_pose(iuv_s, g), iuv_s)
        label = take("label", sets, target)
        picture_t, picture_s = (pictures(take("image", sets, i)) for i in (target, source))
        row = try_on[:, None, None, None]
        region = garment_region(label, take("dense_pose", sets, target), g).unsqueeze(1)
        region = torch.where(row, region, torch.ones(1))
        z, z_ref, masked = (
            self.vae.encode(x) for x in (picture_t, picture_s, picture_t * (1 - region))
        )
        grid = z.shape[-2:]
        mask = latent_mask(region[:, 0], grid)
        known = ~chance(SOURCE_POSE_UNKNOWN)[:, None, None, None]
        seen = ~chance(NO_REFERENCE)[:, None, None, None]
        pose_s = encode_dense_pose(iuv_s.float() / 255, grid) * known * seen
        person = (label > 0).float().unsqueeze(1)
        cells = F.avg_pool2d(person, person.shape[-1] // grid[1])
        weight = torch.where(row, 0.1 + 1.2 * mask, 0.3 + cells)
        pair = pair_index(source, target)
        flow = take("flow", sets, pair).float().movedim(-1, 1)
        visible = take("visible", sets, pair).float().unsqueeze(1)
        return Batch(
            target=z,
            source=z_ref * seen,
            concat=generator_concat(mask, masked, encode_dense_pose(iuv_t.float() / 255, grid)),
            source_pose=pose_s,
            weight=weight,
            flow=torch.nan_to_num(flow),
            visible=visible * seen,
            source_picture=picture_s,
            target_picture=picture_t,
            person=person * seen,
        )


def flow_l1(flow: Tensor, truth: Tensor, visible: Tensor) -> Tensor:
    """Mean distance of attention's flow to the true one over visible cells, in -1..1 units.

    flow [B, 2, h, w]; truth [B, 2, H, W] and visible [B, 1, H, W] at a multiple of its size.
    """
    cell = truth.shape[-1] // flow.shape[-1]
    share = F.avg_pool2d(visible, cell)
    mean = F.avg_pool2d(truth * visible, cell) / share.clamp_min(1e-6)
    return ((flow - mean).abs() * share).sum() / share.sum().clamp_min(1) / 2


def draw_timesteps(count: int, recipe: Recipe, g: torch.Generator) -> Tensor:
    """A large share of pure noise, the rest sigmoid(N(m, 1.2)): otherwise average colour leaks
    through the noisy latent and the model never learns to take it from the reference.
    """
    t = torch.sigmoid(torch.randn(count, generator=g) * 1.2 + recipe.noise_mean) * 999
    pure = torch.rand(count, generator=g) < recipe.pure_noise
    return torch.where(pure, torch.full_like(t, 999), t).round().long()


class PersonLoss:
    """Diffusion loss on x0 (weighted 1 / (1 - alpha + 0.2)), flow supervision, Leffa loss.

    A network of 32 channels cannot carry the noise that v would ask of it.
    """

    def __init__(
        self, unet: SiteUNet, reference: SiteUNet, batches: PairBatches, phases: Phases, steps: int
    ) -> None:
        self.unet, self.reference = unet, reference
        self.batches, self.phases, self.steps = batches, phases, steps
        self.schedule = NoiseSchedule()

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        batch = self.batches.draw(g)
        recipe = [r for share, r in self.phases if share * self.steps <= step][-1]
        count = len(batch.target)
        t = draw_timesteps(count, recipe, g)
        a = self.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = torch.randn(batch.target.shape, generator=g)
        noisy = a.sqrt() * batch.target + (1 - a).sqrt() * noise

        tap = CorrespondenceTap(LAYERS)
        reference = Reference(torch.empty(0), batch.source[:, None], batch.source_pose[:, None])
        leffa = Leffa(reference, observer=tap)
        now = Step(math.nan, 0.5, 0, 1, (True,) * count)
        call = Call(now, tuple(noisy.shape[-2:]), (leffa,))
        plain = Call(now, call.size)
        leffa.prepare(now, lambda x, _: self.reference.features(x, t, plain))
        out = self.unet.forward(torch.cat([noisy, batch.concat], 1), t, call)

        error = (out - batch.target).square() * batch.weight
        terms = {"diffusion": (error / (1 - a + 0.2)).mean()}
        if recipe.flow:
            losses = [flow_l1(f, batch.flow, batch.visible) for f in tap.flows(1.0, False)]
            terms["flow"] = torch.stack(losses).mean()
        if recipe.leffa:
            early = (t < recipe.leffa_below).float()[:, None, None, None]
            losses = [
                leffa_loss(f, batch.source_picture, batch.target_picture, batch.person * early)
                for f in tap.flows(recipe.tau, True)
            ]
            terms["leffa"] = torch.stack(losses).sum()
        weights = {"diffusion": 1.0, "flow": recipe.flow, "leffa": recipe.leffa}
        total = sum(weights[name] * term for name, term in terms.items())
        return {"total": total, **{name: term.detach() for name, term in terms.items()}}


def make_trainer(
    shards: Shards,
    vae: PatchAutoencoder,
    config: dict,
    checkpoint: Path,
    schedule: Schedule,
    phases: Phases,
    seed: int,
) -> tuple[Trainer, PersonLoss]:
    """The trainer and its loss; resumes when the checkpoint exists. phases: (share of the run from
    which it counts, recipe), the first from 0.
    """
    torch.manual_seed(seed)
    unet, reference = make_person(config)
    trainer = Trainer({"unet": unet, "unet_encoder": reference}, schedule, checkpoint, seed)
    batches = PairBatches(shards, vae, phases[0][1].batch)
    return trainer, PersonLoss(SiteUNet(unet), SiteUNet(reference), batches, phases, schedule.steps)
