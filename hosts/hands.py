"""The hand generator: a small network that paints a hand and its mask from a pose map.

Our design. It stands on its own, beside whatever model paints the body, and works on latents of the
tiny family's autoencoder, which is in its file. Right hands only: left ones come mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import attention
from ..methods.hand_pose import HandPoses
from ..methods.hands import MASK_CHANNELS, decode_mask, generate
from ..methods.person import latent_mask
from . import weights
from .patches import PatchAutoencoder
from .sampling import NoiseSchedule, noise_levels

WAVES = 32  # pairs of sine and cosine that tell the timestep
SKIN = 4  # colour, and whether it is known


class _Block(nn.Module):
    """A residual block, scaled and shifted by what is known of the step and the skin."""

    def __init__(self, before: int, after: int, known: int, operations: Any) -> None:
        super().__init__()
        self.norm1 = operations.GroupNorm(8, before)
        self.first = operations.Conv2d(before, after, 3, padding=1)
        self.tell = operations.Linear(known, 2 * after)
        self.norm2 = operations.GroupNorm(8, after)
        self.second = operations.Conv2d(after, after, 3, padding=1)
        self.short = operations.Conv2d(before, after, 1) if before != after else nn.Identity()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        h = self.norm2(self.first(F.silu(self.norm1(x))))
        scale, shift = self.tell(known)[..., None, None].chunk(2, 1)
        return self.short(x) + self.second(F.silu(h * (1 + scale) + shift))


class _Look(nn.Module):
    """Self-attention over the grid."""

    def __init__(self, width: int, operations: Any) -> None:
        super().__init__()
        self.heads = width // 32
        self.norm = operations.GroupNorm(8, width)
        self.ask = operations.Linear(width, 3 * width)
        self.leave = operations.Linear(width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x).flatten(2).mT
        q, k, v = self.ask(n).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.leave(out).mT.reshape(x.shape)


class HandNet(nn.Module):
    """(x, t, seen, pose, skin) -> the clean joint latent [B, C + 4, h, w].

    x: [B, C + 4, h, w], the noisy latents of picture and mask, of variance 1. t: [B], 0 to 999.
    seen: [B, 1 + C, h, w], what is to be painted and the latent of the masked picture. pose:
    [B, 3, h * patch, w * patch], 0..1, see `methods.hand_pose`; all 0: not told. skin: [B, 4].
    widths: channels at one, two and four cells, multiples of 32. operations: where the layers come
    from, PyTorch or the host.
    """

    def __init__(
        self, widths: Sequence[int], latent_channels: int, patch: int, operations: Any = nn
    ) -> None:
        super().__init__()
        self.patch, self.channels = patch, latent_channels + MASK_CHANNELS
        told = self.channels + 1 + latent_channels + 3 * patch * patch
        known = 4 * widths[0]
        self.enter = operations.Conv2d(told, widths[0], 3, padding=1)
        self.know = nn.Sequential(
            operations.Linear(2 * WAVES + SKIN, known), nn.SiLU(), operations.Linear(known, known)
        )

        def blocks(pairs: Sequence[tuple[int, int]]) -> nn.ModuleList:
            return nn.ModuleList(_Block(a, b, known, operations) for a, b in pairs)

        steps = list(pairwise(widths))
        self.down = blocks([(w, w) for w in widths])
        self.shrink = nn.ModuleList(
            operations.Conv2d(a, b, 3, stride=2, padding=1) for a, b in steps
        )
        self.look = nn.ModuleList(_Look(w, operations) for w in widths[1:])
        self.middle = _Block(widths[-1], widths[-1], known, operations)
        self.up = blocks([(2 * w, w) for w in widths])
        self.again = nn.ModuleList(_Look(w, operations) for w in widths[1:])
        self.grow = nn.ModuleList(operations.Conv2d(b, a, 3, padding=1) for a, b in steps)
        self.norm = operations.GroupNorm(8, widths[0])
        self.leave = operations.Conv2d(widths[0], self.channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, seen: Tensor, pose: Tensor, skin: Tensor) -> Tensor:
        bones = F.pixel_unshuffle(pose, self.patch) * 2 - 1
        h = self.enter(torch.cat([x, seen, bones], 1))
        known = F.silu(self.know(torch.cat([waves(t).to(x), skin], 1)))
        kept = []
        for level, block in enumerate(self.down):
            h = h if level == 0 else self.shrink[level - 1](h)
            h = block(h, known)
            h = h if level == 0 else self.look[level - 1](h)
            kept.append(h)
        h = self.middle(h, known)
        for level in reversed(range(len(self.up))):
            h = self.up[level](torch.cat([h, kept[level]], 1), known)
            if level:
                h = self.again[level - 1](h)
                h = F.interpolate(h, kept[level - 1].shape[-2:], mode="nearest")
                h = self.grow[level - 1](h)
        return self.leave(F.silu(self.norm(h)))


def waves(t: Tensor) -> Tensor:
    """Timesteps [B] as sines and cosines [B, 2 * WAVES], periods from 6 to 60,000 steps."""
    rate = torch.exp(-math.log(1e4) * torch.arange(WAVES, device=t.device) / WAVES)
    angle = t.float()[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


HANDS = weights.Kind(
    "a hand model",
    "Hand Stage",
    "models/mannequin/hands",
    ("net", "vae"),
    ("family", "size", "net", "vae", "zero_terminal_snr"),
    {"family": ("mannequin-tiny-hands",), "prediction": ("sample",)},
)


@dataclass(frozen=True)
class PaintedHands:
    """pictures: [N, S, S, 3], 0..1. masks: [N, S, S], 0..1, of the hands. latents: [N, C, h, w] of
    the pictures, as the hand model's own autoencoder makes them.
    """

    pictures: Tensor
    masks: Tensor
    latents: Tensor


@dataclass(frozen=True)
class HandModel:
    """What paints hands; float32, on the CPU."""

    net: HandNet
    vae: PatchAutoencoder
    size: int
    schedule: NoiseSchedule

    @torch.no_grad()
    def paint(
        self,
        poses: HandPoses,
        seed: int,
        steps: int,
        guidance: float = 1.0,
        skin: Sequence[float] | Tensor | None = None,
        seen: Tensor | None = None,
        regions: Tensor | None = None,
        after: Callable[[int, Tensor], None] = lambda index, x0: None,
    ) -> PaintedHands:
        """A picture and a mask for each hand; none where there is no hand.

        guidance: >= 0, how much the pose counts against no pose; 1 asks once per step. skin: red,
        green, blue, 0..1, or [N, 3] for each hand, None when not known. seen: [N, S, S, 3], 0..1,
        close-ups that stay as they are where regions [N, S, S] are 0; without them all is painted.
        after(index, x0) is called after each step with joint latents and may raise.
        """
        count, side = len(poses.hands), self.size
        grid = side // self.vae.patch
        shape = (count, self.net.channels, grid, grid)
        if not count:
            latents = torch.zeros(0, self.net.channels - MASK_CHANNELS, grid, grid)
            return PaintedHands(torch.zeros(0, side, side, 3), torch.zeros(0, side, side), latents)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        left = torch.tensor([hand.left for hand in poses.hands])
        pose = mirror(poses.maps(side).movedim(-1, 1), left)
        region = torch.ones(count, 1, side, side) if regions is None else regions.unsqueeze(1)
        grey = torch.zeros(count, 3, side, side)
        picture = grey if seen is None else seen.movedim(-1, 1).float() * 2 - 1
        region, picture = mirror(region.float(), left), mirror(picture, left)
        masked = self.vae.encode(picture * (1 - region))
        given = torch.cat([latent_mask(region[:, 0], (grid, grid)), masked], 1)
        told = torch.zeros(count, SKIN)
        if skin is not None:
            told[:, :3] = 2 * torch.as_tensor(skin) - 1
            told[:, 3] = 1

        def predict(x: Tensor, sigma: float) -> Tensor:
            t = torch.full((count,), self.schedule.timestep(sigma))
            x = x / (sigma**2 + 1) ** 0.5
            posed = self.net(x, t, given, pose, told)
            if guidance == 1:
                return posed
            plain = self.net(x, t, given, torch.zeros_like(pose), told)
            return plain + guidance * (posed - plain)

        sigmas = noise_levels(self.schedule, "simple", steps, 1.0).tolist()
        joint = generate(predict, noise, sigmas, after)
        latents, mask = joint[:, :-MASK_CHANNELS], joint[:, -MASK_CHANNELS:]
        pictures = mirror(((self.vae.decode(latents) + 1) / 2).clamp(0, 1), left)
        masks = mirror(decode_mask(mask, side, side), left)
        flipped = self.vae.encode(pictures * 2 - 1)
        latents = torch.where(left[:, None, None, None], flipped, latents)
        return PaintedHands(pictures.movedim(1, -1), masks, latents)


def mirror(x: Tensor, rows: Tensor) -> Tensor:
    """x [N, ..., W] with the rows [N] that are marked turned left to right."""
    return torch.where(rows.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def load_hand_model(path: Path) -> HandModel:
    """Opens a hand model. Raises ValueError naming the file, what was expected and what came."""
    config, tensors = weights.read_kind(Path(path), HANDS)
    try:
        net, vae = HandNet(**config["net"]), PatchAutoencoder(**config["vae"])
        for module, room in ((net, "net"), (vae, "vae")):
            module.load_state_dict({k: t.float() for k, t in tensors[room].items()})
            module.requires_grad_(False).train(False)
        schedule = NoiseSchedule(zero_terminal_snr=config["zero_terminal_snr"])
        return HandModel(net, vae, int(config["size"]), schedule)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error
