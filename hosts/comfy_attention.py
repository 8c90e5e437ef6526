"""The methods' hooks inside ComfyUI's attention layers, among everybody's patches."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import comfy.ldm.modules.attention as comfy_attention
from torch import Tensor

from ..kernels.offered import offer
from ..methods.site import Method, Site
from .sites import Call

LAYER_INPUT = "mannequin_layer_input"
NAMES = {"self": "attn1", "cross": "attn2"}

_options: ContextVar[dict[str, Any]] = ContextVar("mannequin_transformer_options")

Block = tuple[str, int]
Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


def hooked(options: dict[str, Any], layers: dict[Block, str], call: Call) -> dict[str, Any]:
    """transformer_options for one denoiser call, with the call's hooks chained to what is there.

    Only the kinds of attention that an active method has to do with are touched.
    """
    for kind in NAMES:
        if call.at(kind):
            options = _hooked(options, layers, call, kind)
    return options


def _hooked(
    options: dict[str, Any], layers: dict[Block, str], call: Call, kind: str
) -> dict[str, Any]:
    name = NAMES[kind]

    def site(extra: dict[str, Any]) -> Site:
        grid = tuple(extra["activations_shape"][-2:])
        return Site(kind, layer_of(layers, extra), extra["n_heads"], grid, call.step)

    def context(n: Tensor, keys: Tensor, values: Tensor, extra: dict[str, Any]):
        extra[LAYER_INPUT] = n
        return call.context(n, keys, values, site(extra))

    def output(n: Tensor, extra: dict[str, Any]) -> Tensor:
        return call.output(extra[LAYER_INPUT], n, site(extra))

    patches = dict(options.get("patches", {}))
    patches[f"{name}_patch"] = [*patches.get(f"{name}_patch", []), context]
    patches[f"{name}_output_patch"] = [*patches.get(f"{name}_output_patch", []), output]
    out = {**options, "patches": patches}
    if any(type(method).attends is not Method.attends for method in call.at(kind)):
        replaced = dict(options.get("patches_replace", {}))
        there = replaced.get(name, {})
        replaced[name] = {
            block: _attention_over(there.get(block), call, site) for block in {*layers, *there}
        }
        out["patches_replace"] = replaced
    return out


def _attention_over(
    previous: Attention | None, call: Call, site: Callable[[dict[str, Any]], Site]
) -> Attention:
    """The methods' attention where one wants it, otherwise what was there.

    In cross-attention another pack's replacement (IPAdapter and its like) adds to what the text
    says, and its addition is kept; in self-attention it gives way.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
        here = site(extra)
        ours = call.attention(here)
        if ours is None:
            return (previous or _plain_attention)(q, k, v, extra)
        heads = (t.unflatten(-1, (here.heads, -1)).transpose(1, 2) for t in (q, k, v))
        before = _options.set(extra)
        try:
            out = ours(*heads).transpose(1, 2).flatten(2)
        finally:
            _options.reset(before)
        if previous is not None and here.kind == "cross":
            out = out + previous(q, k, v, extra) - _plain_attention(q, k, v, extra)
        return out

    return attend


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
    return comfy_attention.optimized_attention(
        q, k, v, extra["n_heads"], attn_precision=extra["attn_precision"], transformer_options=extra
    )


def _chosen_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What the user chose for ComfyUI (sage, flash, xformers ...), [B, H, N, d] as in kernels; in
    a model's attention layer, what was chosen for that model.
    """
    return comfy_attention.optimized_attention(
        q,
        k,
        v,
        q.shape[1],
        skip_reshape=True,
        skip_output_reshape=True,
        transformer_options=_options.get({}),
    )


offer("comfy", _chosen_attention)


def layer_of(layers: dict[Block, str], extra: dict[str, Any]) -> str:
    """The host-neutral id of the layer that a hook was called in."""
    layer = layers[extra["block"]]
    index = extra["block_index"]
    return f"{layer}.{index}" if index else layer
