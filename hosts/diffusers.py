"""The host for machines without ComfyUI: methods on diffusers' UNets, sampled by its schedulers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..methods.site import Method, Step
from . import weights
from .patches import PatchAutoencoder
from .sampling import SAMPLERS, SCHEDULERS, NoiseSchedule, noise_levels
from .sampling import sample as run_sampler
from .sites import Call
from .unet import SiteUNet

__all__ = ["SAMPLERS", "SCHEDULERS", "load_person_model", "model_config", "patch", "sample"]

Conditioning = list[tuple[Tensor, dict[str, Any]]]


@dataclass(frozen=True)
class PersonModel:
    """The MODEL on the embedded engine's wires: networks, noise schedule, and patched methods."""

    unet: SiteUNet
    reference: SiteUNet
    schedule: NoiseSchedule
    config: dict[str, Any]
    methods: tuple[Method, ...] = ()

    def predict(self, x: Tensor, sigma: float, step: Step, concat: Tensor) -> Tensor:
        """x0 [B, C, h, w] from the noisy x = x0 + sigma noise, for the step's batch rows."""
        timestep = self.schedule.timestep(sigma)
        t = torch.full((len(x),), timestep, dtype=torch.long)
        active = tuple(m for m in self.methods if m.active(step))
        call = Call(step, tuple(x.shape[-2:]), active)
        plain = Call(step, call.size)

        def run_reference(inputs: Tensor) -> dict[str, Tensor]:
            return self.reference.features(inputs, t[:1].expand(len(inputs)), plain)

        for method in active:
            method.prepare(step, run_reference)
        scaled = x / (sigma**2 + 1) ** 0.5
        return self.unet.forward(torch.cat([scaled, concat], 1), t, call)


@dataclass(frozen=True)
class Autoencoder:
    """The VAE on the embedded engine's wires, called as ComfyUI's."""

    network: PatchAutoencoder

    def encode(self, image: Tensor) -> Tensor:
        """[B, H, W, 3] 0..1 -> [B, C, H / f, W / f]; H, W cropped to multiples of f, centred."""
        f = self.network.patch
        height, width = image.shape[1:3]
        h, w = height // f * f, width // f * f
        if not h or not w:
            raise ValueError(
                f"The picture is {width}x{height} pixels; the autoencoder needs at least {f}x{f}."
            )
        top, left = (height - h) // 2, (width - w) // 2
        x = image[:, top : top + h, left : left + w, :3].movedim(-1, 1) * 2 - 1
        return self.network.encode(x)

    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, H, W, 3] 0..1."""
        return ((self.network.decode(latent) + 1) / 2).clamp(0, 1).movedim(1, -1)


def load_person_model(path: Path) -> tuple[PersonModel, Autoencoder]:
    """Reads a person model's file. Raises ValueError when it is not one."""
    from diffusers import UNet2DConditionModel

    stored = weights.read(path)
    config = stored.config
    networks = {}
    for room, kind in (
        ("unet", UNet2DConditionModel),
        ("unet_encoder", UNet2DConditionModel),
        ("vae", PatchAutoencoder),
    ):
        with torch.inference_mode(False):
            network = kind(**config[room])
            try:
                network.load_state_dict(stored.tensors[room])
            except RuntimeError as error:
                raise ValueError(
                    f"{path}: the {room} weights do not fit their configuration: {error}"
                ) from error
            networks[room] = network.requires_grad_(False).train(False)
    model = PersonModel(
        SiteUNet(networks["unet"]),
        SiteUNet(networks["unet_encoder"]),
        NoiseSchedule(zero_terminal_snr=config["zero_terminal_snr"]),
        config,
    )
    return model, Autoencoder(networks["vae"])


def model_config(model: PersonModel) -> dict[str, Any]:
    """latent_channels, downscale, latent_scale, dense_pose ("iuv-features"), and the networks'."""
    return model.config


def patch(model: PersonModel, method: Method) -> PersonModel:
    """A model with one more method; the one given is left as it was."""
    return replace(model, methods=(*model.methods, method))


def sample(
    model: PersonModel,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent: dict[str, Any],
    denoise: float = 1.0,
    callback: Callable[[int, int, Tensor], None] | None = None,
) -> dict[str, Any]:
    """KSampler: same noise, noise levels and order as ComfyUI's for the same seed.

    latent: {"samples": [B, C, h, w], optional "noise_mask": [B, H, W]}. cfg: >= 0; at 1 the
    negative is not run. callback(index, total, x0) is called after each step and may raise.
    Returns the latent with its samples replaced. Raises ValueError for unknown names.
    """
    if sampler_name not in SAMPLERS:
        raise ValueError(f"Unknown sampler {sampler_name!r}: expected one of {SAMPLERS}.")
    scale = model.config["latent_scale"]
    start = latent["samples"] * scale
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed))
    sigmas = noise_levels(model.schedule, scheduler, steps, denoise)
    if not len(sigmas):
        return latent
    rows = len(start)
    mask = _fit_mask(latent.get("noise_mask"), start)
    concats = [_rows(c[0][1]["noise_concat"], rows) for c in (positive, negative)]
    guided = cfg != 1
    rows_shown = (True,) * rows + (False,) * rows * guided
    total = len(sigmas) - 1

    def predict(x: Tensor, sigma: float, index: int) -> Tensor:
        step = Step(sigma, index / max(total - 1, 1), index, total, rows_shown)
        here = mask
        if mask is not None:
            for method in model.methods:
                here = method.mask(here, step)
            x = x * here + (start + sigma * noise) * (1 - here)
        if guided:
            x0 = model.predict(torch.cat([x, x]), sigma, step, torch.cat(concats))
            conditional, unconditional = x0.chunk(2)
            x0 = unconditional + cfg * (conditional - unconditional)
        else:
            x0 = model.predict(x, sigma, step, concats[0])
        for method in model.methods:
            if method.active(step):
                x0 = method.denoised(x0, step)
        return x0 if mask is None else x0 * here + start * (1 - here)

    from_pure_noise = sigmas[0] >= model.schedule.sigmas[-1] * (1 - 1e-5)
    x = start + noise * ((sigmas[0].square() + 1).sqrt() if from_pure_noise else sigmas[0])
    after = partial(_report, callback, total, scale)
    return {**latent, "samples": run_sampler(predict, x, sigmas, after) / scale}


def _report(
    callback: Callable[[int, int, Tensor], None] | None,
    total: int,
    scale: float,
    index: int,
    x0: Tensor,
) -> None:
    if callback is not None:
        callback(index, total, x0 / scale)


def _rows(x: Tensor, rows: int) -> Tensor:
    if len(x) not in (1, rows):
        raise ValueError(
            f"The conditioning holds {len(x)} pictures and the latent {rows}: expected the same "
            "number, or one picture for all."
        )
    return x.expand(rows, *x.shape[1:])


def _fit_mask(mask: Tensor | None, latent: Tensor) -> Tensor | None:
    if mask is None:
        return None
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    mask = torch.nn.functional.interpolate(mask, latent.shape[-2:], mode="bilinear")
    return _rows(mask, len(latent))
