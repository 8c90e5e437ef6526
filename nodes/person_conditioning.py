"""Person Conditioning: the target pose, and what of a picture is to be repainted."""

import torch
from comfy_api.latest import io

from .. import hosts
from ..methods import repaint
from .schema import CATEGORY, build, encoder

PROMPT = 77  # tokens of an empty prompt: ignored by the model, wanted by ControlNets


class PersonConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinPersonConditioning",
            display_name="Person Conditioning",
            category=CATEGORY,
            description="Tells the person model which pose to paint and, for try-on, which part "
            "of which picture. Without a mask everything is painted anew.",
            search_aliases=["leffa conditioning", "try-on", "agnostic mask", "densepose"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Person Model."),
                io.Vae.Input("vae", tooltip="The VAE of Load Person Model."),
                io.Image.Input(
                    "dense_pose",
                    tooltip="Dense pose (IUV) that the result is to have, a lossless PNG. Without "
                    "a person picture the result has its size.",
                ),
                io.Image.Input(
                    "person",
                    optional=True,
                    tooltip="The picture to repaint. The result has its size, cropped to a "
                    "multiple of the model's downscale (4 for mannequin-tiny).",
                ),
                io.Mask.Input(
                    "garment_mask",
                    optional=True,
                    tooltip="1 where the picture is repainted. Absent: everywhere. All 0: nothing.",
                ),
                io.Mask.Input(
                    "hand_protect_mask",
                    optional=True,
                    tooltip="1 where the hands are: kept out of the repainted area.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Mask.Output(
                    display_name="repainted",
                    tooltip="Garment mask without the hands: paste the result back with it.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model, vae, dense_pose, person=None, garment_mask=None, hand_protect_mask=None
    ):
        config = hosts.host_of(model).model_config(model)
        kind = config["dense_pose"]
        if kind is None:
            raise ValueError(
                "Expected a person model; got a plain checkpoint, which takes no dense pose. "
                "Condition it with CLIP Text Encode and an empty latent, or load a person model."
            )
        area = repaint.area(
            dense_pose, person, garment_mask, hand_protect_mask, config["downscale"], kind
        )
        encode = encoder(vae, config)
        concat, latent = repaint.condition(area, encode, config["latent_scale"], kind)
        text = torch.zeros(1, PROMPT, config["unet"]["cross_attention_dim"])
        conditioning = [[text, {"noise_concat": concat}]]
        repainted = torch.ones(area.dense_pose.shape[:3]) if area.mask is None else area.mask
        return io.NodeOutput(conditioning, conditioning, latent, repainted)
