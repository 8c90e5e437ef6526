"""Small critics on a face network's layers, for the end of the inpainting model's training.

Distances alone leave faces soft: the mean of what could be meant is still the cheapest answer.
Critics that look at the features of a fixed network were proposed by Sauer et al. (Projected GANs,
arXiv 2111.01007), the hinge loss by Lim and Ye (arXiv 1705.02894). Ours: the layers of our own face
network, judged only inside the mask.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .parallel import average, rank

SEED, RATE = 3, 5e-4
WIDTH = 48
WARM = 150  # steps in which a new critic only learns
EVERY = 200  # steps between saves


class Critic(nn.Module):
    """One map of scores per layer; positive where a picture looks real."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width + 1, WIDTH, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, padding=1)),
                nn.LeakyReLU(0.2),
                nn.Conv2d(WIDTH, 1, 1),
            )
            for width in widths
        )

    def forward(self, layers: Sequence[Tensor], mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Scores and mask [B, 1, h, w] for layers [B, C, h, w] whose channels have length 1."""
        out = []
        for head, layer in zip(self.heads, layers, strict=True):
            inside = F.interpolate(mask, layer.shape[-2:], mode="area")
            out.append((head(torch.cat([layer * layer.shape[1] ** 0.5, inside], 1)), inside))
        return out


class Critics:
    """A critic, its optimizer and its checkpoint beside the trained model's own."""

    def __init__(self, widths: Sequence[int], checkpoint: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.critic = Critic(widths)
        self.checkpoint, self.warm, self.done = checkpoint, WARM, 0
        if checkpoint.exists():
            self.critic.load_state_dict(load_file(checkpoint))
            self.warm = 0
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), RATE, betas=(0.0, 0.99))

    def __call__(self, painted: Sequence[Tensor], true: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Teaches the critic to tell the layers apart; returns what the painter is to lower."""
        self._learn([layer.detach() for layer in painted], true, mask)
        if self.done <= self.warm:
            return painted[0].new_zeros(())
        self.critic.requires_grad_(False)
        scores = self.critic(painted, mask)
        self.critic.requires_grad_(True)
        return -torch.stack([_mean(score, inside) for score, inside in scores]).mean()

    def _learn(self, painted: Sequence[Tensor], true: Sequence[Tensor], mask: Tensor) -> None:
        loss = torch.stack(
            [_mean(F.relu(1 - score), inside) for score, inside in self.critic(true, mask)]
            + [_mean(F.relu(1 + score), inside) for score, inside in self.critic(painted, mask)]
        ).sum()
        self.optimizer.zero_grad()
        loss.backward()
        average(list(self.critic.parameters()))
        self.optimizer.step()
        self.done += 1
        if self.done % EVERY == 0 and rank() == 0:
            state = {k: v.contiguous() for k, v in self.critic.state_dict().items()}
            partial = self.checkpoint.with_suffix(".partial")
            save_file(state, partial)
            os.replace(partial, self.checkpoint)


def _mean(scores: Tensor, inside: Tensor) -> Tensor:
    return (scores * inside).sum() / inside.sum().clamp_min(1)
