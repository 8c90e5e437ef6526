"""The core nodes that say what to paint where, under ComfyUI's names; see core_nodes.py."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .schema import (
    Boolean,
    Clip,
    ComfyNode,
    Conditioning,
    Image,
    Latent,
    Mask,
    NodeOutput,
    Schema,
    String,
    Vae,
)

CROP = 8


class CLIPTextEncode(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="CLIPTextEncode",
            display_name="CLIP Text Encode (Prompt)",
            category="conditioning",
            inputs=[
                String.Input("text", multiline=True, dynamic_prompts=True),
                Clip.Input("clip"),
            ],
            outputs=[Conditioning.Output(display_name="CONDITIONING")],
        )

    @classmethod
    def execute(cls, text: str, clip: Any) -> NodeOutput:
        return NodeOutput(clip.encode_from_tokens_scheduled(clip.tokenize(text)))


class InpaintModelConditioning(ComfyNode):
    """Picture and mask as conditioning of an inpainting model, and the latent to start from.

    The picture is cropped to multiples of 8, centred, the mask with it; where the mask is above a
    half, the picture that the model sees is grey.
    """

    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="InpaintModelConditioning",
            display_name="InpaintModelConditioning",
            category="conditioning/inpaint",
            inputs=[
                Conditioning.Input("positive"),
                Conditioning.Input("negative"),
                Vae.Input("vae"),
                Image.Input("pixels"),
                Mask.Input("mask"),
                Boolean.Input("noise_mask", default=True),
            ],
            outputs=[
                Conditioning.Output(display_name="positive"),
                Conditioning.Output(display_name="negative"),
                Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        pixels: Tensor,
        mask: Tensor,
        noise_mask: bool,
    ) -> NodeOutput:
        pixels = pixels[..., :3]
        size = tuple(pixels.shape[1:3])
        mask = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size, mode="bilinear")
        rows, columns = (slice(n % CROP // 2, n % CROP // 2 + n // CROP * CROP) for n in size)
        seen, mask = pixels[:, rows, columns], mask[..., rows, columns]
        kept = 1 - mask.round().movedim(1, -1)
        told = {
            "concat_latent_image": vae.encode((seen - 0.5) * kept + 0.5),
            "concat_mask": mask,
        }
        latent = {"samples": vae.encode(pixels)}
        if noise_mask:
            latent["noise_mask"] = mask
        both = ([[text, {**entries, **told}] for text, entries in c] for c in (positive, negative))
        return NodeOutput(*both, latent)


TEXT_NODES = [CLIPTextEncode, InpaintModelConditioning]
