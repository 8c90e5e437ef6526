"""What happens inside ComfyUI's denoiser calls: the methods' hooks among everybody's patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..methods.site import Features, Method, Step
from .comfy_attention import Block, hooked, layer_of
from .sites import Call, check_references

METHODS = "mannequin_methods"
SAMPLING = "mannequin_sampling"
REFERENCES = "mannequin_references"
SEED_OF_REFERENCE_NOISE = 0


@dataclass(frozen=True)
class Patched:
    """What the wrappers need, carried in the model's transformer_options.

    reference: a person model's second network, None for plain checkpoints, which look at their own
    features of the reference. reference_sites: how many self-attentions the network has that sees
    the references.
    """

    methods: tuple[Method, ...]
    layers: dict[Block, str]
    reference: nn.Module | None
    reference_layers: dict[Block, str]
    reference_sites: int

    def __deepcopy__(self, memo: dict[int, Any]) -> Patched:
        """Itself: ComfyUI below 0.18 deep-copies a model's options with every clone, and a copied
        method would fill a copy of the flow.
        """
        return self


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
    run = tuple(sample_sigmas[:-1].tolist())
    return Step(sigma, index / max(total - 1, 1), index, total, conditional, run)


def run_sampling(executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """ComfyUI's OUTER_SAMPLE wrapper: tells the methods where a run begins and ends."""
    guider = executor.class_obj
    options = guider.model_options["transformer_options"]
    options[SAMPLING] = guider.model_patcher.get_model_object("model_sampling")
    patched: Patched = options[METHODS]
    if patched.reference is not None:
        check_references(patched.methods)
    for method in patched.methods:
        method.begin()
    try:
        return executor(*args, **kwargs)
    finally:
        for method in patched.methods:
            method.end()


def run_preparation(
    executor: Callable[..., Any],
    model: Any,
    noise_shape: Sequence[int],
    conds: dict[str, list[dict[str, Any]]],
    *args: Any,
    **kwargs: Any,
) -> tuple[Any, dict[str, list[dict[str, Any]]], list[Any]]:
    """ComfyUI's PREPARE_SAMPLING wrapper: lets the estimate of the memory count the references.

    A person model's own estimate is told their shapes; for plain checkpoints they count as so many
    more pictures.
    """
    patched: Patched = model.model_options["transformer_options"][METHODS]
    shapes = [shape for method in patched.methods for shape in method.reference_shapes()]
    told = conds
    if patched.reference is not None:
        told = {k: [{**cond, REFERENCES: sum(shapes, ())} for cond in v] for k, v in conds.items()}
    else:
        cells = noise_shape[-2] * noise_shape[-1]
        more = sum(rows * h * w for rows, h, w in shapes) / cells
        noise_shape = [math.ceil(noise_shape[0] * (1 + more)), *noise_shape[1:]]
    real_model, _, models = executor(model, noise_shape, told, *args, **kwargs)
    return real_model, conds, models


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
        sampling = transformer_options[SAMPLING]
        row = conditional.index(True) if True in conditional else 0
        plain = {**transformer_options, "cond_or_uncond": [0], "patches_replace": {}}

        def run_reference(inputs: Tensor, sigma: float) -> Features:
            noise_level = torch.full((len(inputs),), sigma, device=x.device)
            t = sampling.timestep(noise_level).float()
            if patched.reference is not None:
                return features(patched, patched.reference, inputs.to(x), t, options={})
            noised = as_denoiser_input(inputs, sampling, noise_level, x.shape[1]).to(x)
            text, extra = (
                None if c is None else c[row : row + 1].expand(len(inputs), *c.shape[1:])
                for c in (context, y)
            )
            return features(patched, executor, noised, t, text, extra, None, options=plain)

        for method in methods:
            method.prepare(step, run_reference)
        call = Call(step, tuple(x.shape[-2:]), methods)
        transformer_options = hooked(transformer_options, patched.layers, call)
    return executor(x, timesteps, context, y, control, transformer_options, *args, **kwargs)


class _Complete(Exception):  # noqa: N818  not an error: all features are there
    pass


def features(
    patched: Patched, network: Callable[..., Tensor], *inputs: Any, options: dict[str, Any]
) -> Features:
    """The input of every self-attention of a network {layer: [R, N, channels]}; what comes after
    the last of them is not computed. inputs: those of ComfyUI's UNet up to its options.
    """
    bank: Features = {}

    def keep(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]):
        bank[layer_of(patched.reference_layers, extra)] = n
        if len(bank) == patched.reference_sites:
            raise _Complete
        return n, context, value

    with suppress(_Complete):
        network(*inputs, transformer_options={**options, "patches": {"attn1_patch": [keep]}})
    return bank


def as_denoiser_input(latents: Tensor, sampling: Any, sigma: Tensor, channels: int) -> Tensor:
    """Reference latents [R, C, h, w] as a plain checkpoint's UNet sees pictures at noise level
    sigma [R]: always with the same noise. An inpainting checkpoint is told that nothing is to be
    repainted (our design).
    """
    generator = torch.Generator().manual_seed(SEED_OF_REFERENCE_NOISE)
    noise = torch.randn(latents.shape, generator=generator).to(sigma.device)
    latents = latents.to(noise)
    noised = latents + noise * sigma.reshape(-1, 1, 1, 1)
    x = sampling.calculate_input(sigma, noised)
    if channels > x.shape[1]:
        rest = torch.cat([torch.zeros_like(latents[:, :1]), latents], 1)
        x = torch.cat([x, rest[:, : channels - x.shape[1]]], 1)
    return x


def denoised_hook(method: Method) -> Callable[[dict[str, Any]], Tensor]:
    def hook(args: dict[str, Any]) -> Tensor:
        x0 = args["denoised"]
        sigmas = args["model_options"]["transformer_options"]["sample_sigmas"]
        step = step_of(float(args["sigma"][0]), sigmas, (True,) * len(x0))
        return method.denoised(x0, step) if method.active(step) else x0

    return hook


def mask_hook(
    method: Method, previous: Callable[..., Tensor] | None
) -> Callable[[Tensor, Tensor, dict[str, Any]], Tensor]:
    def hook(sigma: Tensor, mask: Tensor, extra_options: dict[str, Any]) -> Tensor:
        if previous is not None:
            mask = previous(sigma, mask, extra_options=extra_options)
        step = step_of(float(sigma[0]), extra_options["sigmas"], (True,) * len(mask))
        return method.mask(mask, step)

    return hook
