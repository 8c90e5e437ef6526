"""What the keypoint head learns from: latents of rendered people as a sampler's predictions look.

Two ways to such latents: rendered pictures' own, worn down (noise, blur, a mix with the mean), and
predictions that mannequin-tiny itself made from noised latents.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.diffusers import Autoencoder, PersonModel
from ...methods.leffa import Leffa, Reference
from ...methods.person import encode_dense_pose, generator_concat
from ...methods.site import Step
from .data import Shards
from .hand_detector import BodyPool
from .pose_field_data import MIRRORED, shard_points

LEVELS = (999, 850, 700, 500, 300, 100)  # timesteps of predictions, the first is pure noise
BATCH = 8
NOISE, BLUR, GREY = 0.6, 2.0, 0.6  # the most that `worn` does: std, cells, share of the mean
CLEAN = 0.2  # share of latents that it leaves alone


@dataclass(frozen=True)
class Predictions:
    """x0 [N, C, h, w], what the model predicted; points [N, 18, 3] of the picture behind it, in
    pixels; timestep [N] of the noised latent that it saw.
    """

    x0: Tensor
    points: Tensor
    timestep: Tensor


class LatentPool:
    """Pictures of a folder with their points, given out as latents, half of them mirrored."""

    def __init__(self, folder: Path, vae: Autoencoder, scale: float) -> None:
        self.pool, self.vae, self.scale = BodyPool(folder), vae, scale
        self.width = self.pool.image.shape[2]

    def __len__(self) -> int:
        return len(self.pool)

    def take(self, which: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [B, C, h, w] as the model works on them, and points [B, 18, 3] in pixels."""
        image, points = self.pool.image[which], self.pool.points[which]
        row = mirror[:, None, None]
        image = torch.where(row[..., None], image.flip(2), image)
        other = points[:, MIRRORED] * points.new_tensor([-1, 1, 1])
        other = other + points.new_tensor([self.width, 0, 0])
        return self.vae.encode(image / 255) * self.scale, torch.where(row, other, points)


def worn(latents: Tensor, g: torch.Generator) -> Tensor:
    """Latents [B, C, h, w] worn down, each by its own amount: a blur over cells, a mix with the
    mean of each channel, noise. A share CLEAN stays as it is.
    """
    b = len(latents)

    def draw(most: float) -> Tensor:
        return (torch.rand(b, generator=g).square() * most)[:, None, None, None]

    spread = draw(BLUR)
    at = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-(at.square()) / (2 * spread[:, 0, 0].square() + 1e-4))
    kernel = kernel / kernel.sum(1, keepdim=True)
    c = latents.shape[1]
    rows = F.pad(latents, (3, 3, 3, 3), mode="replicate").flatten(0, 1)[None]
    for shape in ((b, 1, 1, 7), (b, 1, 7, 1)):
        weight = kernel.reshape(shape).repeat_interleave(c, 0)
        rows = F.conv2d(rows, weight, groups=b * c)
    out = rows[0].unflatten(0, (b, c))
    out = torch.lerp(out, out.mean((2, 3), keepdim=True), draw(GREY))
    out = out + draw(NOISE) * torch.randn(out.shape, generator=g)
    keep = torch.rand(b, generator=g) < CLEAN
    return torch.where(keep[:, None, None, None], latents, out)


@torch.inference_mode()
def predict(
    model: PersonModel, vae: Autoencoder, folder: Path, count: int, seed: int
) -> Predictions:
    """Predictions of x0 from the noised latents of `count` people, a batch at each of LEVELS in
    turn, the reference and the target's true dense pose given.

    With a degraded dense pose the prediction may stand in another pose than the picture behind it,
    and its points would be wrong.
    """
    shards = Shards(folder)
    shards.refresh()
    points = shard_points(folder).unflatten(0, (-1, 4))
    g = torch.Generator().manual_seed(seed)
    scale, parts = host.model_config(model)["latent_scale"], []
    for k in range(-(-count // BATCH)):
        sets = torch.randint(shards.sets, (BATCH,), generator=g)
        target = torch.randint(3, (BATCH,), generator=g)
        source = (target + torch.randint(1, 3, (BATCH,), generator=g)) % 3
        x0 = _encoded(vae, shards.gather("image", sets, target)) * scale
        reference = _encoded(vae, shards.gather("image", sets, source)) * scale
        poses = [
            encode_dense_pose(shards.gather("dense_pose", sets, i).float() / 255, x0.shape[-2:])
            for i in (target, source)
        ]
        timestep = LEVELS[k % len(LEVELS)]
        sigma = float(model.schedule.sigmas[timestep])
        grey = _encoded(vae, torch.full((1, *shards.shards[0]["image"].shape[2:]), 127.5)) * scale
        concat = generator_concat(
            torch.ones(BATCH, 1, *x0.shape[-2:]), grey.expand_as(x0), poses[0]
        )
        shown = Reference(torch.empty(0), reference[:, None], poses[1][:, None])
        step = Step(sigma, 0.0, 0, 1, (True,) * BATCH, (sigma,))
        x = x0 + sigma * torch.randn(x0.shape, generator=g)
        out = host.patch(model, Leffa(shown)).predict(x, sigma, step, concat)
        times = torch.full((BATCH,), timestep)
        parts.append((out.half(), points[sets, target], times))
    return Predictions(*(torch.cat(part)[:count].clone() for part in zip(*parts, strict=True)))


def _encoded(vae: Autoencoder, image: Tensor) -> Tensor:
    return vae.encode(image.float() / 255)


def predictions(
    path: Path, model: PersonModel, vae: Autoencoder, folder: Path, count: int, seed: int
) -> Predictions:
    """`predict`, kept in a file."""
    if not path.exists():
        made = predict(model, vae, folder, count, seed)
        partial = path.with_suffix(".partial")
        save_file({name: t.contiguous() for name, t in vars(made).items()}, partial)
        partial.replace(path)
        print(json.dumps({"predictions": count, "file": str(path)}), flush=True)
    return Predictions(**load_file(path))
