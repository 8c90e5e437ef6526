"""The host inside ComfyUI: methods on ComfyUI's own MODEL, through documented hooks only.

`patch` leaves two wrappers, around the sampling run and around the diffusion model. When a denoiser
call reaches them, the hooks are put into that call's own options, behind and around whatever other
packs have put there, before or after us; the model itself is never touched, so there is nothing to
undo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.sd
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..methods.site import Method
from . import comfy_inpaint, comfy_weights
from .comfy_hooks import (
    METHODS,
    Patched,
    block_layers,
    denoised_hook,
    mask_hook,
    run_methods,
    run_preparation,
    run_sampling,
)
from .comfy_places import places
from .comfy_training import (
    cross_attention_weights,
    differentiable,
    encode_text,
    repaint_channels,
)
from .comfy_weights import CONFIG, REFERENCE
from .comfy_words import knows_words, with_words
from .published import layer_ids

__all__ = [
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
    "with_words",
]

LARGEST = {768: 768, 2048: 1024}

Guide = Callable[[Tensor, Tensor, float], Tensor]


def load_person_model(path: Path) -> tuple[ModelPatcher, comfy.sd.VAE]:
    """Reads a person model's file. Raises ValueError when it is not one."""
    model, vae = comfy_weights.load(path)
    return ready(model), vae


def load_inpaint_model(path: Path) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Reads an inpainting model with a text encoder. Raises ValueError when it is not one."""
    return comfy_inpaint.load(path)


def ready(model: ModelPatcher) -> ModelPatcher:
    """Puts the wrappers, without any method yet, into a person model; returns it."""
    _install(model)
    return model


def model_config(model: ModelPatcher) -> dict[str, Any]:
    """latent_channels, downscale, latent_scale, dense_pose (see `methods.person`; None for plain
    checkpoints), prediction ("sample", "epsilon" or "v"), and the networks' own.

    Raises ValueError for a MODEL without the UNet that our methods patch.
    """
    config = model.get_attachment(CONFIG)
    if config is not None:
        return config
    unet = getattr(model.model, "diffusion_model", None)
    if not isinstance(unet, UNetModel):
        raise ValueError(
            f"Expected a person model, or a plain SD1.5 or SDXL checkpoint; got "
            f"{type(model.model).__name__}, which has no such UNet. Connect the MODEL of Load "
            "Person Model or of Load Checkpoint."
        )
    v = model.model.model_type is ModelType.V_PREDICTION
    latent = model.model.latent_format
    largest = LARGEST.get(model.model.model_config.unet_config.get("context_dim"), 768)
    return {
        "family": "plain",
        "prediction": "v" if v else "epsilon",
        "latent_channels": latent.latent_channels,
        "latent_scale": latent.scale_factor,
        "downscale": 8,
        "size": [largest, largest],
        "free_size": True,
        "flow_layers": _finest_layers(unet),
        "dense_pose": None,
        "unet_encoder": {"in_channels": latent.latent_channels},
    }


def _finest_layers(unet: UNetModel) -> list[str]:
    """The layer ids of the last upward level with attention: there the flow is finest."""
    names = block_layers(unet)
    levels: dict[str, list[str]] = {}
    for i, block in enumerate(unet.output_blocks):
        place = names["output", i]
        depth = sum(hasattr(module, "attn1") for module in block.modules())
        if depth:
            levels.setdefault(place.split(".")[1], []).extend(layer_ids(place, depth))
    return levels[max(levels)]


def noise_table(model: ModelPatcher) -> Tensor:
    """The noise level of every discrete step of the model's schedule, ascending [1000].

    Raises ValueError for a model without discrete steps.
    """
    table = getattr(model.get_model_object("model_sampling"), "sigmas", None)
    if table is None:
        raise ValueError(
            f"Expected a model with discrete noise levels; got {type(model.model).__name__}. Use "
            "one of ComfyUI's own schedulers for it."
        )
    return table


def patch(model: ModelPatcher, method: Method) -> ModelPatcher:
    """A clone with one more method; the model given is left as it was."""
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    if METHODS not in options:
        _install(patched)
    before: Patched = options[METHODS]
    options[METHODS] = replace(before, methods=(*before.methods, method))
    if type(method).denoised is not Method.denoised:
        patched.set_model_sampler_post_cfg_function(denoised_hook(method))
    if type(method).mask is not Method.mask:
        previous = patched.model_options.get("denoise_mask_function")
        patched.set_model_denoise_mask_function(mask_hook(method, previous))
    return patched


def guide(model: ModelPatcher, function: Guide) -> ModelPatcher:
    """A clone whose guided prediction goes through function(guided, conditional, cfg), both
    predictions given as noise, sigma * epsilon [B, C, h, w]; chains.
    """

    def hook(args: dict[str, Any]) -> Tensor:
        x = args["input"]
        guided, conditional = x - args["denoised"], x - args["cond_denoised"]
        return x - function(guided, conditional, args["cond_scale"])

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(hook)
    return patched


def _install(model: ModelPatcher) -> None:
    """Puts the wrappers, without any method yet, into a model of ours or a clone."""
    reference = next(
        (p.model.diffusion_model for p in model.get_additional_models_with_key(REFERENCE)), None
    )
    unet = model.model.diffusion_model
    seen = unet if reference is None else reference
    sites = sum(hasattr(module, "attn1") for module in seen.modules())
    model.model_options["transformer_options"][METHODS] = Patched(
        (), block_layers(unet), reference, block_layers(seen), sites
    )
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, METHODS, run_sampling)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, METHODS, run_preparation)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, METHODS, run_methods)
