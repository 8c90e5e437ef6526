"""People painted in another pose: by reference attention alone, aligned, guided, or both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.aligner import Aligner, read_aligner
from ...hosts.pose_head import PoseModel, read_pose_model
from ...hosts.sampling import noise_levels
from ...methods.leffa import Leffa, Reference
from ...methods.person import encode_dense_pose, generator_concat
from ...methods.pose_guidance import GuidanceReport, PoseGuidance
from ...methods.reposedm import Aligned
from ...methods.site import Step
from .heldout import SPACING
from .pose_pairs import Told

CFG, BATCH = 1.5, 8
ITERATIONS, SCALE = 3, 1.0  # the nodes' defaults


@dataclass(frozen=True)
class Way:
    """steps: of the sampling. iterations: of the aligner, 0 for plain reference attention. scale:
    of the guidance, 0 for none.
    """

    steps: int
    iterations: int = 0
    scale: float = 0.0


@dataclass
class PosePainter:
    """The person model with what aligns and guides it; the same seeds for every way."""

    model: Any
    vae: Any
    aligner: Aligner
    pose: PoseModel

    def __post_init__(self) -> None:
        config = host.model_config(self.model)
        self.aligner.check(config)
        self.pose.check(config)

    @torch.inference_mode()
    def paint(
        self, told: Told, way: Way, seed: int, report: GuidanceReport | None = None
    ) -> Tensor:
        """Pictures [B, H, W, 3], 0..1. A pair's noise follows from the seed and its number, whoever
        else is painted. report: gets what guidance did to all of them.
        """
        parts, done = [], []
        for first in range(0, len(told), BATCH):
            now = GuidanceReport()
            parts.append(self._paint(told.rows(slice(first, first + BATCH)), way, seed, now))
            done += [replace(one, picture=one.picture + first) for one in now.steps]
        if report is not None:
            report.steps = done
        return torch.cat(parts)

    def _paint(self, told: Told, way: Way, seed: int, report: GuidanceReport) -> Tensor:
        model, concat, grid = self.patched(told, way, report)
        shape = (host.model_config(model)["latent_channels"], *grid)
        noise = [
            torch.randn(shape, generator=torch.Generator().manual_seed(seed * SPACING + number))
            for number in told.number.tolist()
        ]
        conditioning = [(torch.zeros(1, 1, 1), {"noise_concat": concat})]
        sigmas = noise_levels(self.model.schedule, "simple", way.steps, 1.0)
        start = {"samples": torch.zeros(len(told), *shape)}
        out, _ = host.sample_custom(
            model,
            True,
            seed,
            CFG,
            conditioning,
            conditioning,
            "euler",
            sigmas,
            start,
            noise=torch.stack(noise),
        )
        return self.vae.decode(out["samples"])

    def patched(
        self, told: Told, way: Way, report: GuidanceReport | None = None
    ) -> tuple[Any, Tensor, tuple[int, int]]:
        """The model with its methods, what it is told beside the noise, and the latent's grid."""
        scale = host.model_config(self.model)["latent_scale"]
        latents = self.vae.encode(told.source) * scale
        grid = tuple(latents.shape[-2:])
        grey = self.vae.encode(torch.full_like(told.source[:1], 0.5)) * scale
        pose = encode_dense_pose(told.target_pose, grid)
        concat = generator_concat(
            torch.ones(len(told), 1, *grid), grey.expand(len(told), -1, -1, -1), pose
        )
        reference = Reference(
            told.source, latents[:, None], encode_dense_pose(told.source_pose, grid)[:, None]
        )
        shown = Leffa(reference)
        if way.iterations:
            shown = Aligned(reference, self.aligner.net, None, pose, way.iterations)
        model = host.patch(self.model, shown)
        if way.scale:
            guidance = PoseGuidance(
                self.pose.head, self.pose.field, told.points, way.scale, report=report
            )
            model = host.patch(model, guidance)
        return model, concat, grid


def load_painter(base: Path, aligner: Path, pose: Path) -> PosePainter:
    """From three files. Raises FileNotFoundError for one that is not there."""
    model, vae = host.load_person_model(base)
    return PosePainter(model, vae, read_aligner(aligner), read_pose_model(pose))


def seconds(painter: PosePainter, told: Told, ways: dict[str, Way], turns: int) -> dict[str, float]:
    """Processor time per picture: medians of `turns` alternating runs, after one that is not
    counted.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns + 1):
        for name, way in ways.items():
            started = time.process_time()
            painter.paint(told, way, 0)
            took[name].append((time.process_time() - started) / len(told))
    return {name: statistics.median(values[1:]) for name, values in took.items()}


def kept_for_gradients(work: Callable[[], Any], weights: Iterable[Tensor] = ()) -> int:
    """Bytes that PyTorch keeps for gradients while `work` runs, each storage once, `weights` left
    out, which are there anyway: the memory that a graph holds on to.
    """
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    for weight in weights:
        kept.pop(weight.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in kept.values())


def memory(painter: PosePainter, told: Told) -> dict[str, float]:
    """MiB per picture that guidance keeps for its gradient in one step, and what it would keep if
    that gradient went through the generator too.
    """
    guidance = PoseGuidance(painter.pose.head, painter.pose.field, told.points)
    with torch.no_grad():
        model, concat, grid = painter.patched(told, Way(1))
    rows, channels = len(told), host.model_config(model)["latent_channels"]
    step = Step(1.0, 0.5, 0, 1, (True,) * rows, (1.0,))
    g = torch.Generator().manual_seed(0)
    noisy = torch.randn(rows, channels, *grid, generator=g) * 2**0.5

    def through() -> None:
        x = noisy.clone().requires_grad_(True)
        clean = model.predict(x, step.sigma, step, concat)
        painter.pose.field.distance(painter.pose.head(clean)).sum().backward()

    nets = (painter.pose.head, painter.pose.field, painter.model.unet.unet)
    weights = [weight for net in nets for weight in net.parameters()]
    ours = kept_for_gradients(lambda: guidance.denoised(noisy, step), weights)
    whole = kept_for_gradients(through, weights)
    return {"guidance_mib": ours / rows / 2**20, "through_generator_mib": whole / rows / 2**20}
