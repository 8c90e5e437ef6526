"""The host for machines without ComfyUI: methods on diffusers' UNets, sampled by its schedulers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..methods.site import Method, Step
from . import inpaint, weights
from .diffusers_training import (
    cross_attention_weights,
    differentiable,
    encode_text,
    repaint_channels,
)
from .networks import Autoencoder, Clip, autoencoder, clip, knows_words, places, unet, with_words
from .sampling import SAMPLERS, SCHEDULERS, NoiseSchedule, noise_levels
from .sampling import sample as run_sampler
from .sites import Call, check_concat, check_references
from .unet import SiteUNet

__all__ = [
    "SAMPLERS",
    "SCHEDULERS",
    "cross_attention_weights",
    "differentiable",
    "encode_text",
    "guide",
    "knows_words",
    "load_inpaint_model",
    "load_person_model",
    "model_config",
    "noise_table",
    "patch",
    "places",
    "repaint_channels",
    "sample",
    "sample_custom",
    "with_words",
]

Conditioning = list[tuple[Tensor, dict[str, Any]]]
Given = tuple[Tensor, Tensor | None]
Guide = Callable[[Tensor, Tensor, float], Tensor]
Callback = Callable[[int, int, Tensor], None]


@dataclass(frozen=True)
class PersonModel:
    """The MODEL on the embedded engine's wires: networks, noise schedule, and what is patched.

    reference: the network that sees references; None for models that read text instead.
    """

    unet: SiteUNet
    reference: SiteUNet | None
    schedule: NoiseSchedule
    config: dict[str, Any]
    methods: tuple[Method, ...] = ()
    guides: tuple[Guide, ...] = ()

    def predict(
        self, x: Tensor, sigma: float, step: Step, concat: Tensor, text: Tensor | None = None
    ) -> Tensor:
        """x0 [B, C, h, w] from the noisy x = x0 + sigma noise, for the step's batch rows.

        concat [B, K, h, w]: the channels beside the noisy latent. text [B, L, C]: None for models
        that read none.
        """
        t = torch.full((len(x),), self.schedule.timestep(sigma), dtype=torch.long)
        active = tuple(m for m in self.methods if m.active(step))
        call = Call(step, tuple(x.shape[-2:]), active)
        plain = Call(step, call.size)

        def run_reference(inputs: Tensor, sigma: float) -> dict[str, Tensor]:
            times = torch.full((len(inputs),), self.schedule.timestep(sigma), dtype=torch.long)
            return self.reference.features(inputs, times, plain)

        for method in active:
            method.prepare(step, run_reference if self.reference is not None else None)
        scaled = x / (sigma**2 + 1) ** 0.5
        predicted = self.unet.forward(torch.cat([scaled, concat], 1), t, call, text)
        return predicted if self.config["prediction"] == "sample" else x - sigma * predicted


def load_person_model(path: Path) -> tuple[PersonModel, Autoencoder]:
    """Reads a person model's file. Raises ValueError when it is not one."""
    with torch.inference_mode(False):
        stored = weights.read(path)
        with _misfits_named(path):
            networks = unet(stored, "unet"), unet(stored, "unet_encoder")
            return _model(stored, *networks), autoencoder(stored)


def load_inpaint_model(path: Path) -> tuple[PersonModel, Clip, Autoencoder]:
    """Reads an inpainting model with a text encoder. Raises ValueError when it is not one."""
    with torch.inference_mode(False):
        stored = weights.read_inpaint(path)
        with _misfits_named(path):
            model = _model(stored, unet(stored, "unet", text_free=False), None)
            return model, clip(stored), autoencoder(stored)


def _model(
    stored: weights.PersonWeights, network: SiteUNet, reference: SiteUNet | None
) -> PersonModel:
    schedule = NoiseSchedule(zero_terminal_snr=stored.config["zero_terminal_snr"])
    return PersonModel(network, reference, schedule, stored.config)


@contextmanager
def _misfits_named(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error


def model_config(model: PersonModel) -> dict[str, Any]:
    """latent_channels, downscale, latent_scale, dense_pose (see `methods.person`; None for models
    that take none), and the networks' own.
    """
    return model.config


def noise_table(model: PersonModel) -> Tensor:
    """The noise level of every discrete step of the model's schedule, ascending [1000]."""
    return model.schedule.sigmas


def patch(model: PersonModel, method: Method) -> PersonModel:
    """A model with one more method; the one given is left as it was."""
    return replace(model, methods=(*model.methods, method))


def guide(model: PersonModel, function: Guide) -> PersonModel:
    """A model whose guided prediction goes through function(guided, conditional, cfg), both
    predictions given as noise, sigma * epsilon [B, C, h, w]; chains.
    """
    return replace(model, guides=(*model.guides, function))


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
    callback: Callback | None = None,
) -> dict[str, Any]:
    """KSampler: same noise, noise levels and order as ComfyUI's for the same seed.

    latent: {"samples": [B, C, h, w], optional "noise_mask": [B, H, W]}. cfg: >= 0; at 1 the
    negative is not run. callback(index, total, x0) is called after each step and may raise.
    Returns the latent with its samples replaced. Raises ValueError for unknown names.
    """
    sigmas = noise_levels(model.schedule, scheduler, steps, denoise)
    out, _ = sample_custom(
        model, True, seed, cfg, positive, negative, sampler_name, sigmas, latent, callback
    )
    return out


def sample_custom(
    model: PersonModel,
    add_noise: bool,
    seed: int,
    cfg: float,
    positive: Conditioning,
    negative: Conditioning,
    sampler_name: str,
    sigmas: Tensor,
    latent: dict[str, Any],
    callback: Callback | None = None,
    noise: Tensor | None = None,
    step_noise: Iterable[Tensor] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """SamplerCustom: as `sample`, along the noise levels sigmas [steps + 1].

    noise [B, C, h, w], step_noise (one per step): instead of the seed's. Returns the latent with
    the samples at the end, and with the last prediction of x0.
    """
    if sampler_name not in SAMPLERS:
        raise ValueError(f"Unknown sampler {sampler_name!r}: expected one of {SAMPLERS}.")
    if model.reference is not None:
        check_references(model.methods)
    if len(sigmas) < 2:
        return latent, latent
    samples = latent["samples"]
    if not add_noise:
        noise = torch.zeros_like(samples)
    elif noise is None:
        noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed))
    scale = model.config["latent_scale"]
    start = samples * scale
    mask = _fit_mask(latent.get("noise_mask"), start)
    given = _given(model, (positive, negative), start)
    predict = partial(_predict, model, cfg, given, start, noise, mask, sigmas)
    last = start

    def after_step(index: int, x0: Tensor) -> None:
        nonlocal last
        last = x0
        if callback is not None:
            callback(index, len(sigmas) - 1, x0 / scale)

    from_pure_noise = sigmas[0] >= model.schedule.sigmas[-1] * (1 - 1e-5)
    x = start + noise * ((sigmas[0].square() + 1).sqrt() if from_pure_noise else sigmas[0])
    for method in model.methods:
        method.begin()
    try:
        out = run_sampler(sampler_name, predict, x, sigmas, step_noise or seed, after_step)
    finally:
        for method in model.methods:
            method.end()
    return {**latent, "samples": out / scale}, {**latent, "samples": last / scale}


def _predict(
    model: PersonModel,
    cfg: float,
    given: Sequence[Given],
    start: Tensor,
    noise: Tensor,
    mask: Tensor | None,
    sigmas: Tensor,
    x: Tensor,
    sigma: float,
    index: int,
) -> Tensor:
    """x0 under guidance, the mask and all that is patched, for one step of a run."""
    total, rows, guided = len(sigmas) - 1, len(x), cfg != 1
    conditional = (True,) * rows + (False,) * rows * guided
    run = tuple(sigmas[:-1].tolist())
    step = Step(sigma, index / max(total - 1, 1), index, total, conditional, run)
    if mask is not None:
        for method in model.methods:
            mask = method.mask(mask, step)
        x = x * mask + (start + sigma * noise) * (1 - mask)
    if guided:
        concats, texts = zip(*given, strict=True)
        text = None if texts[0] is None else torch.cat(texts)
        both = model.predict(torch.cat([x, x]), sigma, step, torch.cat(concats), text)
        cond, uncond = both.chunk(2)
        x0 = uncond + cfg * (cond - uncond)
    else:
        x0 = cond = model.predict(x, sigma, step, *given[0])
    for function in model.guides:
        x0 = x - function(x - x0, x - cond, cfg)
    for method in model.methods:
        if method.active(step):
            x0 = method.denoised(x0, step)
    return x0 if mask is None else x0 * mask + start * (1 - mask)


def _given(model: PersonModel, conditionings: Sequence[Conditioning], start: Tensor) -> list[Given]:
    """What the model is told beside the noise, for every row of the latent `start`."""
    firsts = [conditioning[0] for conditioning in conditionings]
    if model.reference is not None:
        channels = model.config["unet"]["in_channels"] - model.config["latent_channels"]
        for _, entries in firsts:
            check_concat(entries.get("noise_concat"), channels)
        return [(_rows(entries["noise_concat"], len(start)), None) for _, entries in firsts]
    scale, width = model.config["latent_scale"], model.config["text"]["width"]
    concats = [inpaint.concat_of(entries, start.shape, scale) for _, entries in firsts]
    texts = [
        inpaint.as_many(inpaint.check_text(text, width), len(start), "texts") for text, _ in firsts
    ]
    return list(zip(concats, inpaint.same_length(texts), strict=True))


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
