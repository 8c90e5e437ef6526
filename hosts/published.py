"""What the tensors of a published Leffa checkpoint tell about it: two UNets and their autoencoder.

The published files hold weights only. Everything that shapes cannot tell is the family's: SD1.5
inpainting for virtual try-on, SDXL inpainting for pose transfer (arXiv 2412.08486, section 4.1).
"""

from collections.abc import Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

SD15_HEADS, SDXL_HEAD_WIDTH = 8, 64
FAMILIES = {
    "sd15": {"latent_scale": 0.18215, "zero_terminal_snr": False, "dense_pose": "rgb"},
    "sdxl": {"latent_scale": 0.13025, "zero_terminal_snr": True, "dense_pose": "iuv"},
}
SIZE = (1024, 768)
UNUSED = ("add_embedding.",)  # SDXL's text and size embedding, which the published code turns off


def config_of(shapes: Mapping[str, Shapes]) -> dict[str, Any]:
    """The configuration of a person model from its tensors' shapes by room ("unet", ...).

    Raises ValueError for what is not a pair of UNet2DConditionModels of Leffa's.
    """
    unets = {room: unet_config(shapes[room]) for room in ("unet", "unet_encoder")}
    family = "sdxl" if unets["unet"]["use_linear_projection"] else "sd15"
    latent = unets["unet"]["out_channels"]
    pose = unets["unet"]["in_channels"] - 2 * latent - 1
    if unets["unet_encoder"]["in_channels"] != latent or pose != 3:
        raise ValueError(
            f"expected a generator of {2 * latent + 4} input channels (noisy, mask, masked, dense "
            f"pose) and a reference network of {latent}; got {unets['unet']['in_channels']} and "
            f"{unets['unet_encoder']['in_channels']}"
        )
    vae = autoencoder_config(shapes["vae"])
    if vae["latent_channels"] != latent:
        raise ValueError(
            f"expected an autoencoder of {latent} latent channels; got {vae['latent_channels']}"
        )
    return {
        **unets,
        "vae": vae,
        "family": family,
        "prediction": "epsilon",
        "latent_channels": latent,
        "downscale": 2 ** (len(vae["block_out_channels"]) - 1),
        "flow_layers": flow_layers(shapes["unet"]),
        "size": list(SIZE),
        "free_size": True,
        **FAMILIES[family],
    }


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """diffusers' UNet2DConditionModel configuration from the shapes of its tensors.

    Heads are SD1.5's eight, or SDXL's of 64 channels each, where the projections are linear.
    Raises ValueError when it is not such a UNet.
    """
    levels = _count(shapes, "down_blocks.{}.")
    if not levels or "conv_in.weight" not in shapes or "conv_out.weight" not in shapes:
        raise ValueError("expected the tensors of a UNet2DConditionModel")
    widths = [shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(levels)]
    depths = [_depth(shapes, f"down_blocks.{i}.") for i in range(levels)]
    up_depths = [_depth(shapes, f"up_blocks.{i}.") for i in range(levels)]
    middle = _depth(shapes, "mid_block.")
    attention = next((name for name in shapes if name.endswith(".attn1.to_q.weight")), None)
    if attention is None or not middle:
        raise ValueError("expected a UNet with attention in its middle block")
    stem = attention.split(".transformer_blocks.")[0]
    linear = len(shapes[f"{stem}.proj_in.weight"]) == 2
    text = shapes.get(f"{attention.removesuffix('attn1.to_q.weight')}attn2.to_k.weight")
    return {
        "sample_size": 64,
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, "down_blocks.0.resnets.{}."),
        "cross_attention_dim": text[1] if text else widths[0],
        "transformer_layers_per_block": [*(d or 1 for d in depths[:-1]), depths[-1] or middle],
        "attention_head_dim": (
            [max(w // SDXL_HEAD_WIDTH, 1) for w in widths] if linear else SD15_HEADS
        ),
        "norm_num_groups": 32,
        "use_linear_projection": linear,
        "down_block_types": ["CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if d else "UpBlock2D" for d in up_depths],
    }


def flow_layers(shapes: Shapes) -> list[str]:
    """The layer ids of the last upward block with attention: there the flow is finest."""
    block = max(
        i for i in range(_count(shapes, "up_blocks.{}.")) if _depth(shapes, f"up_blocks.{i}.")
    )
    layers = []
    for i in range(_count(shapes, f"up_blocks.{block}.attentions." + "{}.")):
        stem = f"up_blocks.{block}.attentions.{i}.transformer_blocks."
        layers += layer_ids(f"up.{block}.{i}", _count(shapes, stem + "{}."))
    return layers


def layer_ids(place: str, depth: int) -> list[str]:
    """The ids of the transformer layers that stand at one place of a UNet."""
    return [place if i == 0 else f"{place}.{i}" for i in range(depth)]


def autoencoder_config(shapes: Shapes) -> dict[str, Any]:
    """diffusers' AutoencoderKL configuration from the shapes of its tensors. Raises ValueError."""
    levels = _count(shapes, "encoder.down_blocks.{}.")
    if not levels or "decoder.conv_in.weight" not in shapes:
        raise ValueError("expected the tensors of an AutoencoderKL under vae")
    widths = [shapes[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(levels)]
    return {
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, "encoder.down_blocks.0.resnets.{}."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _count(shapes: Shapes, pattern: str) -> int:
    number = 0
    while any(name.startswith(pattern.format(number)) for name in shapes):
        number += 1
    return number


def _depth(shapes: Shapes, block: str) -> int:
    return _count(shapes, block + "attentions.0.transformer_blocks.{}.")
