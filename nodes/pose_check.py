"""Pose Check: how far a picture's pose is from the one that was asked for."""

import torch
from comfy_api.latest import io, ui

from ..hosts.pose_head import read_pose_model
from ..methods import pose_check
from ..methods.pose_view import overlay
from . import model_files
from .schema import CATEGORY, PoseKeypoint, build

NONE = "none"


class PoseCheck(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinPoseCheck",
            display_name="Pose Check",
            category=CATEGORY,
            description="Measures how far the pose in a picture is from the one that was asked "
            "for: the share of correct keypoints, the mean error, and both poses drawn over it.",
            search_aliases=["pck", "openpose", "keypoints", "evaluate", "pose error"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The picture to measure, or a batch of them."),
                PoseKeypoint.Input(
                    "target",
                    tooltip="The pose that was asked for. One frame for all pictures, or one for "
                    "each.",
                ),
                io.Int.Input(
                    "person",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Which of the target's people, 1 for the first. Of the people found in "
                    "the picture the nearest one is compared.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.05,
                    min=0.001,
                    max=1.0,
                    step=0.005,
                    tooltip="How near is right, as a share of the longer side of the box around "
                    "the target's points.",
                ),
                build(
                    io.Float.Input,
                    "confidence",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Measured points that are less sure count as not found.",
                ),
                PoseKeypoint.Input(
                    "measured",
                    optional=True,
                    tooltip="The pose in the picture, found by any pose finder. Without it the "
                    "pose model measures.",
                ),
                io.Combo.Input(
                    "pose_model",
                    options=[NONE, *model_files.names(model_files.POSES)],
                    default=NONE,
                    optional=True,
                    tooltip="Measures where no keypoints are connected: a .safetensors file from "
                    "models/mannequin/poses or the pack's weights/poses, and its model's VAE.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE of the model that the pose model was trained for.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="overlay",
                    tooltip="White: the target. Blue: what was measured. Red: from a joint that is "
                    "off to where it should be.",
                ),
                io.Float.Output(
                    display_name="pck",
                    tooltip="Share of the target's points that are near enough, 0 to 1.",
                ),
                io.Float.Output(
                    display_name="error", tooltip="Mean distance in pixels of the points found."
                ),
                io.String.Output(
                    display_name="table", tooltip="A line for each picture and each joint."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, pose_model=NONE, **inputs):
        known = isinstance(pose_model, str) and pose_model != NONE
        return model_files.fingerprint(model_files.POSES, pose_model) if known else ""

    @classmethod
    def execute(
        cls,
        image,
        target,
        person,
        threshold,
        confidence,
        measured=None,
        pose_model=NONE,
        vae=None,
    ):
        image = image[..., :3]
        size = tuple(image.shape[1:3])
        wanted = pose_check.chosen(pose_check.people(target, *size), len(image), person)
        if measured is not None:
            found = pose_check.nearest(pose_check.people(measured, *size, confidence), wanted)
        elif pose_model == NONE or vae is None:
            raise ValueError(
                "Expected measured keypoints, or a pose model with its VAE to measure them; got "
                f"{'a pose model without VAE' if pose_model != NONE else 'neither'}. Connect a "
                "pose finder's POSE_KEYPOINT, or choose a pose_model and connect the VAE."
            )
        else:
            found = _measure(image, pose_model, vae, confidence)
        result = pose_check.check(wanted, found, *size, threshold)
        picture = overlay(image, result)
        shown = ui.PreviewImage(picture, cls=cls)
        return io.NodeOutput(picture, result.pck, result.error, result.table(), ui=shown)


def _measure(image, pose_model, vae, confidence):
    """Points [B, 18, 3] in pixels of the pictures, 0 as confidence where it is lower."""
    network = read_pose_model(model_files.path(model_files.POSES, pose_model))
    latents = vae.encode(image)
    points = network.measure(latents)
    cells = torch.tensor([latents.shape[-1], latents.shape[-2]]) * network.head.downscale
    margin = (torch.tensor([image.shape[2], image.shape[1]]) - cells) // 2  # cropped by the VAE
    sure = points[..., 2:] * (points[..., 2:] >= confidence)
    return torch.cat([points[..., :2] + margin, sure], -1)
