"""The host inside ComfyUI: methods on ComfyUI's own MODEL, through documented hooks only.

`patch` leaves one wrapper around the diffusion model. When a denoiser call reaches it, the hooks
are put into that call's own options, behind and around whatever other packs have put there, before
or after us; the model itself is never touched, so there is nothing to undo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention as comfy_attention
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ..methods.site import Method, Site, Step
from .comfy_weights import CONFIG, REFERENCE, load_person_model
from .sites import Call

__all__ = ["load_person_model", "model_config", "patch"]

METHODS = "mannequin_methods"
CALL = "mannequin_call"
LAYER_INPUT = "mannequin_layer_input"

Block = tuple[str, int]


@dataclass(frozen=True)
class Patched:
    """What the wrapper needs, carried in the model's transformer_options."""

    methods: tuple[Method, ...]
    layers: dict[Block, str]
    reference: nn.Module | None
    reference_layers: dict[Block, str]


def model_config(model: ModelPatcher) -> dict[str, Any]:
    """latent_channels, downscale, latent_scale, dense_pose ("iuv-features"), and the networks'.

    Raises ValueError when the MODEL did not come from Load Person Model.
    """
    config = model.get_attachment(CONFIG)
    if config is None:
        raise ValueError(
            f"Expected a person model; got {type(model.model).__name__}. "
            "Connect the MODEL of Load Person Model."
        )
    return config


def patch(model: ModelPatcher, method: Method) -> ModelPatcher:
    """A clone with one more method; the model given is left as it was."""
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    before: Patched | None = options.get(METHODS)
    if before is None:
        reference = next(
            (p.model.diffusion_model for p in model.get_additional_models_with_key(REFERENCE)), None
        )
        options[METHODS] = Patched(
            (method,),
            block_layers(model.model.diffusion_model),
            reference,
            block_layers(reference) if reference is not None else {},
        )
        patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, METHODS, run_methods)
    else:
        options[METHODS] = Patched(
            (*before.methods, method), before.layers, before.reference, before.reference_layers
        )
    if type(method).denoised is not Method.denoised:
        patched.set_model_sampler_post_cfg_function(_denoised_hook(method))
    if type(method).mask is not Method.mask:
        previous = patched.model_options.get("denoise_mask_function")
        patched.set_model_denoise_mask_function(_mask_hook(method, previous))
    return patched


def block_layers(unet: nn.Module) -> dict[Block, str]:
    """Host-neutral layer ids of a ComfyUI UNet's blocks: ("input", 4) -> "down.1.0"."""
    layers = {("middle", 0): "mid.0"}
    number = 1
    for level, count in enumerate(unet.num_res_blocks):
        for i in range(count):
            layers["input", number + i] = f"down.{level}.{i}"
        number += count + 1
    number = 0
    for level, count in enumerate(reversed(unet.num_res_blocks)):
        for i in range(count + 1):
            layers["output", number + i] = f"up.{level}.{i}"
        number += count + 1
    return layers


def step_of(sigma: float, sample_sigmas: Tensor, conditional: tuple[bool, ...]) -> Step:
    """The step at noise level sigma of a run whose levels are sample_sigmas [steps + 1]."""
    total = len(sample_sigmas) - 1
    index = min(int((sample_sigmas > sigma * (1 + 1e-5)).sum()), total - 1)
    return Step(sigma, index / max(total - 1, 1), index, total, conditional)


def run_methods(
    executor: Callable[..., Tensor],
    x: Tensor,
    timesteps: Tensor,
    context: Tensor | None,
    y: Tensor | None,
    control: Any,
    transformer_options: dict[str, Any],
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """ComfyUI's DIFFUSION_MODEL wrapper: one denoiser call under the methods active in it."""
    patched: Patched = transformer_options[METHODS]
    chunks = transformer_options["cond_or_uncond"]
    conditional = tuple(kind == 0 for kind in chunks for _ in range(len(x) // len(chunks)))
    step = step_of(
        float(transformer_options["sigmas"][0]), transformer_options["sample_sigmas"], conditional
    )
    methods = tuple(m for m in patched.methods if m.active(step))
    if methods:

        def run_reference(inputs: Tensor) -> dict[str, Tensor]:
            t = timesteps[:1].expand(len(inputs))
            return reference_features(patched, inputs.to(x), t)

        for method in methods:
            method.prepare(step, run_reference if patched.reference is not None else None)
        call = Call(step, tuple(x.shape[-2:]), methods)
        transformer_options = hooked(transformer_options, patched.layers, call)
    return executor(x, timesteps, context, y, control, transformer_options, *args, **kwargs)


def reference_features(patched: Patched, inputs: Tensor, t: Tensor) -> dict[str, Tensor]:
    """The input of every self-attention of the reference network {layer: [R, N, channels]}."""
    bank: dict[str, Tensor] = {}

    def keep(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]):
        bank[_layer(patched.reference_layers, extra)] = n
        return n, context, value

    patched.reference(inputs, t, transformer_options={"patches": {"attn1_patch": [keep]}})
    return bank


def hooked(options: dict[str, Any], layers: dict[Block, str], call: Call) -> dict[str, Any]:
    """transformer_options for one denoiser call, with the call's hooks chained to what is there.

    Another pack's replacement of an attention is called as before, except where a method has to
    compute that attention itself (`Method.attends`).
    """

    def site(extra: dict[str, Any]) -> Site:
        grid = tuple(extra["activations_shape"][-2:])
        return Site("self", _layer(layers, extra), extra["n_heads"], grid, call.step)

    def context(n: Tensor, keys: Tensor, values: Tensor, extra: dict[str, Any]):
        extra[LAYER_INPUT] = n
        here = site(extra)
        for method in call.methods:
            n, keys, values = method.context(n, keys, values, here)
        return n, keys, values

    def output(n: Tensor, extra: dict[str, Any]) -> Tensor:
        return call.output(extra[LAYER_INPUT], n, site(extra))

    def attention_over(previous: Callable[..., Tensor] | None) -> Callable[..., Tensor]:
        def attend(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
            here = site(extra)
            method = call.attention(here)
            if method is None:
                return (previous or _plain_attention)(q, k, v, extra)
            heads = (t.unflatten(-1, (here.heads, -1)).transpose(1, 2) for t in (q, k, v))
            return method.attend(*heads, here).transpose(1, 2).flatten(2)

        return attend

    patches = dict(options.get("patches", {}))
    patches["attn1_patch"] = [*patches.get("attn1_patch", []), context]
    patches["attn1_output_patch"] = [*patches.get("attn1_output_patch", []), output]
    out = {**options, "patches": patches}
    if any(type(method).attends is not Method.attends for method in call.methods):
        replaced = dict(options.get("patches_replace", {}))
        there = replaced.get("attn1", {})
        blocks = {*layers, *there}
        replaced["attn1"] = {block: attention_over(there.get(block)) for block in blocks}
        out["patches_replace"] = replaced
    return out


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
    return comfy_attention.optimized_attention(
        q, k, v, extra["n_heads"], attn_precision=extra["attn_precision"], transformer_options=extra
    )


def _layer(layers: dict[Block, str], extra: dict[str, Any]) -> str:
    layer = layers[extra["block"]]
    index = extra["block_index"]
    return f"{layer}.{index}" if index else layer


def _denoised_hook(method: Method) -> Callable[[dict[str, Any]], Tensor]:
    def hook(args: dict[str, Any]) -> Tensor:
        x0 = args["denoised"]
        sigmas = args["model_options"]["transformer_options"]["sample_sigmas"]
        step = step_of(float(args["sigma"][0]), sigmas, (True,) * len(x0))
        return method.denoised(x0, step) if method.active(step) else x0

    return hook


def _mask_hook(
    method: Method, previous: Callable[..., Tensor] | None
) -> Callable[[Tensor, Tensor, dict[str, Any]], Tensor]:
    def hook(sigma: Tensor, mask: Tensor, extra_options: dict[str, Any]) -> Tensor:
        if previous is not None:
            mask = previous(sigma, mask, extra_options=extra_options)
        step = step_of(float(sigma[0]), extra_options["sigmas"], (True,) * len(mask))
        return method.mask(mask, step)

    return hook
