"""Outpaint Blender: any model paints the body around hands that are there already."""

import torch
from comfy_api.latest import io

from .. import hosts
from ..hosts.pose_branch import load_pose_branch
from ..methods import outpaint
from ..methods.pose_branch import PoseGuide
from . import model_files
from .schema import CATEGORY, Hands, build

FRAMES = 6
GREY = 0.5
NONE = "none"


class OutpaintBlender(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinOutpaintBlender",
            display_name="Outpaint Blender",
            category=CATEGORY,
            description="Puts painted hands into a picture and lets the model paint around them, "
            "the region growing from step to step (stage two of arXiv 2403.10731).",
            search_aliases=["outpaint", "hands", "two-stage", "mask schedule", "latent blending"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that paints the body: Load Inpaint Model, or an SD1.5 or "
                    "SDXL checkpoint. Other patches stay in place.",
                ),
                Hands.Input("hands", tooltip="From Hand Pose, the ones that Hand Stage painted."),
                io.Image.Input("images", tooltip="From Hand Stage."),
                io.Mask.Input("masks", tooltip="From Hand Stage."),
                io.Float.Input(
                    "grow",
                    default=12.0,
                    min=0.0,
                    max=512.0,
                    step=1.0,
                    tooltip="Pixels of the hand's surroundings that are kept at the first step. 0 "
                    "keeps the hand alone.",
                ),
                io.Combo.Input(
                    "curve",
                    options=list(outpaint.CURVES),
                    default="smooth",
                    tooltip="How the kept surroundings shrink: linear, smooth (slowly, fast, "
                    "slowly), early (fast at first) or late.",
                ),
                io.Float.Input(
                    "stop_percent",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Part of the sampling, 0 to 1, after which only the hand is kept.",
                ),
                io.Float.Input(
                    "border",
                    default=2.0,
                    min=0.0,
                    max=128.0,
                    step=0.5,
                    tooltip="Pixels along the hand's edge that are painted anew in the steps after "
                    "that, so that no seam stays. 0 keeps the whole hand.",
                ),
                io.Image.Input(
                    "canvas",
                    optional=True,
                    tooltip="What is under the hands, as large as Hand Pose was told. Without it "
                    "all is grey.",
                ),
                io.Combo.Input(
                    "pose_branch",
                    options=[NONE, *model_files.names(model_files.BRANCHES)],
                    default=NONE,
                    optional=True,
                    tooltip="Lets the tiny model see the drawn skeletons: a .safetensors file from "
                    "models/mannequin/branches or the pack's weights/branches. Other models: none, "
                    "and a ControlNet.",
                ),
                io.Float.Input(
                    "pose_strength",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    optional=True,
                    tooltip="How much the skeletons count. 0 is as if there were no branch.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="For any sampler whose latent has a noise mask."
                ),
                io.Image.Output(
                    display_name="image",
                    tooltip="The hands in their places. Connect it to InpaintModelConditioning, or "
                    "to VAE Encode and Set Latent Noise Mask.",
                ),
                io.Mask.Output(
                    display_name="mask", tooltip="1 where the body is to be painted; goes with it."
                ),
                io.Image.Output(
                    display_name="filmstrip",
                    tooltip="What is kept at 6 moments from the first step to the last.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, pose_branch=NONE, **inputs):
        known = pose_branch != NONE
        return model_files.fingerprint(model_files.BRANCHES, pose_branch) if known else ""

    @classmethod
    def execute(
        cls,
        model,
        hands,
        images,
        masks,
        grow,
        curve,
        stop_percent,
        border,
        canvas=None,
        pose_branch=NONE,
        pose_strength=1.0,
    ):
        host = hosts.host_of(model)
        growth = outpaint.Growth(grow, curve, stop_percent, border)
        if canvas is None:
            canvas = torch.full((1, hands.height, hands.width, 3), GREY)
        made = outpaint.compose(canvas, hands, images[..., :3], masks, grow)
        strip = outpaint.filmstrip(made, growth, [k / (FRAMES - 1) for k in range(FRAMES)])
        if hands.hands:
            cell = host.model_config(model)["downscale"]
            model = host.patch(model, outpaint.GrowingOutpaint(growth, cell))
        if pose_branch != NONE and pose_strength > 0:
            branch = load_pose_branch(model_files.path(model_files.BRANCHES, pose_branch))
            features = branch.features(hands.drawing(), host.cross_attention_weights(model))
            model = host.patch(model, PoseGuide(features, pose_strength))
        return io.NodeOutput(model, made.image, made.mask, strip)
