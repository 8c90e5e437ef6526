"""UNets in diffusers' shapes and names as ComfyUI's own UNetModel."""

from __future__ import annotations

from typing import Any

import comfy.ops
import comfy.utils
from torch import Tensor, nn

COMFY_GROUPS = 32


class Width(int):
    """A level's width, written where ComfyUI multiplies its `channel_mult` with the first width:
    the product is the width itself, whatever the factor.
    """

    def __mul__(self, other: int) -> int:
        return int(self)

    __rmul__ = __mul__


class TextFree(nn.Module):
    """The cross-attention of a text-free model returns its input, as in the published code."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x

    def to_q(self, x: Tensor) -> Tensor:
        """What ComfyUI calls first when a pack has replaced the cross-attention. ValueError."""
        raise ValueError(
            "Expected patches that leave cross-attention alone; got one that replaces it, as "
            "IPAdapter and its like do, and this person model reads no text, so it has none. "
            "Remove that node, or use it with a plain checkpoint."
        )


def comfy_unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """ComfyUI's arguments for a UNet2DConditionModel's configuration."""
    widths = config["block_out_channels"]
    layers = config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else list(depths)
    down = [
        depth * kind.startswith("CrossAttn")
        for depth, kind in zip(depths, config["down_block_types"], strict=True)
    ]
    up = [
        depth * kind.startswith("CrossAttn")
        for depth, kind in zip(depths, reversed(config["up_block_types"]), strict=True)
    ]
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [Width(width) for width in widths],
        "num_res_blocks": [layers] * len(widths),
        "transformer_depth": [n for n in down for _ in range(layers)],
        "transformer_depth_output": [n for n in up for _ in range(layers + 1)],
        "transformer_depth_middle": depths[-1],
        "context_dim": config["cross_attention_dim"],
        "num_heads": 1,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config.get("use_linear_projection", False),
        "use_checkpoint": False,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


def grouped(operations: type, groups: int) -> type:
    """ComfyUI's layer classes with another number of groups than the 32 that its UNet writes."""

    class Grouped(operations):
        class GroupNorm(operations.GroupNorm):
            def __init__(self, num_groups: int, num_channels: int, **options: Any) -> None:
                super().__init__(groups, num_channels, **options)

    return Grouped


def make_text_free(unet: nn.Module) -> None:
    """Takes the cross-attentions out: their weights are neither needed nor loaded."""
    for module in list(unet.modules()):
        if hasattr(module, "attn2"):
            module.attn2 = TextFree()


def set_heads(unet: nn.Module, config: dict[str, Any]) -> None:
    """Gives every attention its level's number of heads, which diffusers calls
    `attention_head_dim`; one number or one per level.
    """
    heads = config["attention_head_dim"]
    widths = config["block_out_channels"]
    heads = [heads] * len(widths) if isinstance(heads, int) else heads
    per_width = dict(zip(widths, heads, strict=True))
    for module in unet.modules():
        if not hasattr(module, "attn1"):
            continue
        width = module.attn1.to_q.in_features
        if module.attn1.to_q.out_features % per_width[width]:
            raise ValueError(f"Expected heads that divide the width {width}; got {heads}.")
        for attention in (module.attn1, module.attn2):
            if hasattr(attention, "heads"):
                attention.heads = per_width[width]
                attention.dim_head = width // per_width[width]
        module.n_heads, module.d_head = per_width[width], width // per_width[width]


def load(
    unet: nn.Module, shape: dict[str, Any], tensors: dict[str, Tensor], text_free: bool = True
) -> None:
    """Fills a UNet of that shape with tensors in diffusers' names; a text-free one's
    cross-attention is left out. Raises RuntimeError when they do not fit.
    """
    names = comfy.utils.unet_to_diffusers(shape)
    unet.load_state_dict(
        {
            names.get(key, key): t
            for key, t in tensors.items()
            if not (text_free and ".attn2." in key)
        }
    )
