"""How a painted face differs from the true one to a face network, beside the squared error.

With the squared error alone a small network paints faces without eyes: at high noise it answers
with the mean of all faces that could be meant, and the sampler never gets away from it. Distances
between a network's features were proposed for this by Johnson et al. (arXiv 1603.08155); channels
brought to one length per place as in LPIPS (arXiv 1801.03924). Ours: the layers of our own face
network, on and off the tone curve in turn, so that dark faces count as bright ones do.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts.faces import FaceNet, load_face_model
from ...hosts.patches import PatchAutoencoder
from .inpaint_critics import Critics
from .models import PERSON_WEIGHTS

FACES = PERSON_WEIGHTS.parent / "faces" / "mannequin-tiny-face.safetensors"
FEATURES, PIXELS, CRITICS = 0.25, 1.0, 0.2  # weights of the terms
LEAST = 0.05  # share of the picture that counts at least as painted
BRIGHTEST = 1.2  # of a predicted picture, which the curve would otherwise blow up


class FaceFeatures:
    """The terms, for latents of one autoencoder; its linear code suffices to see a face.

    critics: what they say of the blocks' layers, after `judged_by_critics`.
    """

    def __init__(self, net: FaceNet, vae: PatchAutoencoder) -> None:
        self.net, self.vae = net, vae
        self.critics: Critics | None = None

    @classmethod
    def load(cls, vae: PatchAutoencoder, path: Path = FACES) -> FaceFeatures:
        """With the face network of a file."""
        return cls(load_face_model(path).net, vae)

    def judged_by_critics(self, checkpoint: Path) -> None:
        """From now on critics learn beside, kept in `checkpoint`."""
        layers = self.layers(torch.zeros(1, 3, 64, 64), on_curve=True)
        self.critics = Critics([layer.shape[1] for layer in layers[1:]], checkpoint)

    def __call__(
        self, out: Tensor, target: Tensor, mask: Tensor, g: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted "features", "pixels" and "critics" of x0 [B, C, h, w] against the truth,
        inside the mask [B, 1, h, w].
        """
        on_curve = bool(torch.rand((), generator=g) < 0.5)
        share = mask.mean().clamp_min(LEAST)
        with torch.no_grad():
            truth = self.linear(target)
            expected = self.layers(truth, on_curve)
        seen = self.linear(torch.where(mask > 0, out, target))
        layers = self.layers(seen.clamp(-BRIGHTEST, BRIGHTEST), on_curve)
        apart = [(a - b).square().sum(1).mean() for a, b in zip(layers, expected, strict=True)]
        edges = sum((seen.diff(dim=d) - truth.diff(dim=d)).abs().mean() for d in (-1, -2))
        terms = {
            "features": FEATURES * torch.stack(apart).sum() / share,
            "pixels": PIXELS * ((seen - truth).abs().mean() + edges) / share,
        }
        if self.critics:
            terms["critics"] = CRITICS * self.critics(layers[1:], expected[1:], mask)
        return terms

    def linear(self, z: Tensor) -> Tensor:
        """The picture on the tone curve, [B, 3, H, W], without what the decoder would add."""
        patches = z.movedim(1, -1) @ self.vae.synthesis.mT + self.vae.mean
        return F.pixel_shuffle(patches.movedim(-1, 1), self.vae.patch)

    def layers(self, toned: Tensor, on_curve: bool) -> list[Tensor]:
        """The face network's layers, every place's channels of length 1."""
        h = F.silu(self.net.enter(toned if on_curve else self.vae.untoned(toned)))
        out = [h]
        for block in self.net.blocks:
            out.append(block(out[-1]))
        return [F.normalize(one, dim=1) for one in out]
