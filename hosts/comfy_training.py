"""What training inside a graph needs of ComfyUI's models; `diffusers_training` has the same.

ComfyUI runs nodes inside torch.inference_mode, and weights that were moved or patched there are
inference tensors, which autograd refuses to keep: for the time of the training they are replaced by
copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import comfy.model_management
import comfy.sd
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..methods.site import Method
from . import prompts
from .comfy_attention import Block, hooked
from .comfy_hooks import block_layers
from .comfy_text import WordModel
from .comfy_words import with_words
from .inpaint import as_many, check_text, same_length
from .sites import Call
from .training import training_step, usable

SIZES = 6 * 256  # of SDXL's vector: the size embeddings beside the pooled text
EVERYTHING = 1e20  # more memory than there is: other models make room

Predict = Callable[..., Tensor]
Whole = TypeVar("Whole", ModelPatcher, comfy.sd.CLIP)


@contextmanager
def differentiable(model: ModelPatcher) -> Iterator[Predict]:
    """Gives predict(x, sigma, text, concat, methods) -> x0 [B, C, h, w], with gradients.

    x: [B, C, h, w], x0 + sigma noise, latents times the model's latent_scale. sigma: [B], a noise
    level per row. text: [1 or B, L, width]. concat: [1 or B, K, h, w], see `repaint_channels`, or
    None. methods: those that act, and no other, at every noise level, whatever part of a sampling
    they are made for. All rows share one Step: conditional, progress 0, and the rows' mean sigma.
    pooled [1 or B, width]: for SDXL, whose pooled text is 0 otherwise.

    The network runs in its own precision, with the LoRAs and attention patches that are on the
    model and with PyTorch's attention, which has gradients. Inside, torch.inference_mode is off and
    gradients are on; afterwards both, and the model's weights, are as before. Raises ValueError for
    a model without the UNet that our methods patch.
    """
    network = getattr(model.model, "diffusion_model", None)
    if not isinstance(network, UNetModel):
        raise ValueError(
            f"Expected a model with a UNet, SD1.5, SD2 or SDXL or one of ours; got "
            f"{type(model.model).__name__}."
        )
    with torch.inference_mode(False), torch.enable_grad():
        patcher = _whole(model)
        comfy.model_management.load_models_gpu(
            [patcher], memory_required=EVERYTHING, force_full_load=True
        )
        with _usable_weights(patcher.model.diffusion_model):
            yield partial(_predict, patcher)


def _whole(model: Whole) -> Whole:
    """A clone whose weights stay in place, also where ComfyUI would move them in and out."""
    patcher = getattr(model, "patcher", model)
    if hasattr(patcher, "is_dynamic") and patcher.is_dynamic():
        return model.clone(disable_dynamic=True)
    return model.clone()


@contextmanager
def _usable_weights(network: nn.Module) -> Iterator[None]:
    """Until it closes, no weight is an inference tensor or asks for gradients."""
    swapped, asking = [], []
    for module in network.modules():
        for store in (module._parameters, module._buffers):
            for name, weight in store.items():
                if weight is None:
                    continue
                if weight.is_inference():
                    swapped.append((store, name, weight))
                    copy = weight.detach().clone()
                    is_parameter = store is module._parameters
                    store[name] = nn.Parameter(copy, requires_grad=False) if is_parameter else copy
                elif weight.requires_grad:
                    asking.append(weight)
                    weight.requires_grad_(False)
    try:
        yield
    finally:
        for store, name, weight in swapped:
            store[name] = weight
        for weight in asking:
            weight.requires_grad_(True)


def _predict(
    patcher: ModelPatcher,
    x: Tensor,
    sigma: Tensor,
    text: Tensor,
    concat: Tensor | None,
    methods: Sequence[Method],
    pooled: Tensor | None = None,
) -> Tensor:
    base, network = patcher.model, patcher.model.diffusion_model
    x, sigma, text = (usable(t).to(patcher.load_device) for t in (x, sigma.float(), text))
    step = training_step(sigma)
    for method in methods:
        method.prepare(step, None)
    options = {
        **patcher.model_options["transformer_options"],
        "cond_or_uncond": [0],
        "sigmas": sigma,
        "sample_sigmas": torch.tensor([step.sigma, 0.0]),
        "optimized_attention_override": _attention,
    }
    call = Call(step, tuple(x.shape[-2:]), tuple(methods))
    text = check_text(text, base.model_config.unet_config["context_dim"])
    if concat is not None:
        concat = as_many(usable(concat).to(x), len(x), "pictures")
    return base.apply_model(
        x,
        sigma,
        c_concat=concat,
        c_crossattn=as_many(text, len(x), "texts"),
        transformer_options=hooked(options, block_layers(network), call),
        **_vector(base, x, pooled),
    )


def _attention(chosen: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """PyTorch's attention: what else the user chose for ComfyUI need not have gradients."""
    return attention_pytorch(*args, **kwargs)


def _vector(base: Any, x: Tensor, pooled: Tensor | None) -> dict[str, Tensor]:
    """SDXL's vector: pooled text and the picture's size."""
    if not base.adm_channels:
        return {}
    if pooled is None:
        pooled = x.new_zeros(1, base.adm_channels - SIZES)
    height, width = (8 * n for n in x.shape[-2:])
    vector = base.encode_adm(
        pooled_output=usable(pooled).to(x), width=width, height=height, device=x.device
    )
    return {"y": as_many(vector, len(x), "texts")}


def cross_attention_weights(model: ModelPatcher) -> dict[str, dict[str, Tensor]]:
    """{layer id: {"to_q": [inner, C], "to_k": [inner, width], "to_v": [inner, width]}}, copies in
    float32 of the model's own weights, without LoRAs. A model that reads no text has none.
    """
    network = model.model.diffusion_model
    out = {}
    with torch.inference_mode(False), torch.no_grad():
        for place, layer in block_layers(network).items():
            path = _path(place)
            blocks = [
                f"{path}.{name}"
                for name, module in network.get_submodule(path).named_modules()
                if hasattr(getattr(module, "attn2", None), "to_k")
            ]
            for index, block in enumerate(blocks):
                out[f"{layer}.{index}" if index else layer] = {
                    room: _own(model, f"diffusion_model.{block}.attn2.{room}.weight")
                    for room in ("to_q", "to_k", "to_v")
                }
    return out


def _path(place: Block) -> str:
    kind, number = place
    return "middle_block" if kind == "middle" else f"{kind}_blocks.{number}"


def _own(model: ModelPatcher, key: str) -> Tensor:
    """A weight as it was before patches."""
    kept = model.backup.get(key)
    weight = model.model.get_parameter(key) if kept is None else kept.weight
    return weight.detach().to("cpu", torch.float32, copy=True)


def encode_text(
    clip: comfy.sd.CLIP, texts: Sequence[str], learned: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Prompts -> [B, L, width]. learned: words like <new1> and the embeddings [width] that take
    their place; gradients reach them where gradients are on. Raises ValueError for learned words
    that have no place in this CLIP.
    """
    encoder = clip.cond_stage_model
    if isinstance(encoder, WordModel):
        with torch.inference_mode(False):
            comfy.model_management.load_models_gpu([clip.patcher])
            with _usable_weights(encoder):
                tokenizer = clip.tokenizer.tokenizer
                rows = [prompts.tokens(tokenizer, text, learned) for text in texts]
                return prompts.encode(encoder.words, rows)
    if learned:
        said = _said_with_words(clip, texts, learned)
    else:
        with torch.no_grad():
            said = _said(clip, texts)
        with torch.inference_mode(False), torch.no_grad():
            said = {text: usable(t) for text, t in said.items()}
    with torch.inference_mode(False):
        return torch.cat(same_length([said[text] for text in texts]))


def _said(clip: comfy.sd.CLIP, texts: Sequence[str]) -> dict[str, Tensor]:
    """Every text once, as ComfyUI encodes it, [1, L, width]."""
    return {text: clip.encode_from_tokens(clip.tokenize(text)) for text in dict.fromkeys(texts)}


def _said_with_words(
    clip: comfy.sd.CLIP, texts: Sequence[str], learned: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same with learned words, and gradients to them. ComfyUI's text encoders change in place
    what their layers have read, so that autograd has to keep copies.
    """
    with torch.inference_mode(False):
        whole = with_words(_whole(clip), learned)
        comfy.model_management.load_models_gpu([whole.patcher])
        with (
            _usable_weights(whole.cond_stage_model),
            saved_tensors_hooks(_kept, lambda kept: kept),
        ):
            return _said(whole, texts)


def _kept(t: Tensor) -> Tensor:
    """What autograd keeps: weights as they are, everything else as a copy."""
    return t if t.is_leaf else t.detach().clone()


def repaint_channels(model: ModelPatcher, picture: Tensor, mask: Tensor) -> Tensor | None:
    """The channels beside the noisy latent [B, 1 + C, h, w]; None for a model that has none.

    picture: [B, C, h, w], the latent of the picture that is grey where it is to be painted, as the
    VAE makes it. mask: [B, H, W] of the picture, 1 where it is to be painted. By the model's own
    rule, so that training sees what sampling does.
    """
    with torch.inference_mode(False), torch.no_grad():
        picture, mask = usable(picture), usable(mask)
        return model.model.concat_cond(
            noise=torch.zeros_like(picture),
            concat_latent_image=picture,
            concat_mask=mask.unsqueeze(1),
            device=picture.device,
        )
