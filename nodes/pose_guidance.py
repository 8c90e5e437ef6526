"""Pose Guidance: the sampling is pulled towards a pose, and towards poses that bodies can take."""

from comfy_api.latest import io

from .. import hosts
from ..hosts.pose_head import read_pose_model
from ..methods.guidance_view import small_plot
from ..methods.pose_guidance import GuidanceReport
from ..methods.pose_target import TowardsPose, shares
from . import model_files
from .live_flow import live
from .schema import CATEGORY, Guidance, PoseKeypoint, build, span


class PoseGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinPoseGuidance",
            display_name="Pose Guidance",
            category=CATEGORY,
            description="Pulls every prediction of the sampler towards wanted keypoints and valid "
            "poses, by the gradient of a small network that sees joints in latents (RePoseDM, "
            "arXiv 2310.16074).",
            search_aliases=["reposedm", "pose interaction field", "keypoints", "gradient guidance"],
            not_idempotent=True,  # two equal copies must not fill one report
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A MODEL whose latents the pose model was trained for, such as "
                    "mannequin-tiny. Other patches stay in place.",
                ),
                io.Combo.Input(
                    "pose_model",
                    options=model_files.names(model_files.POSES),
                    tooltip="A .safetensors file from models/mannequin/poses or the pack's "
                    "weights/poses.",
                ),
                PoseKeypoint.Input(
                    "target",
                    tooltip="The pose that the result is to have: POSE_KEYPOINT of DWPose, "
                    "OpenPose or Pose Keypoints. One frame for all pictures, or one for each.",
                ),
                io.Int.Input(
                    "person",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Which of the target's people, 1 for the first.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How hard the sampling is pulled. 0 is as if the node were not there; "
                    "too much tears limbs apart.",
                ),
                build(
                    io.Float.Input,
                    "field_weight",
                    default=0.01,
                    min=0.0,
                    max=10.0,
                    step=0.005,
                    advanced=True,
                    tooltip="How much it counts that the pose is one that bodies take.",
                ),
                build(
                    io.Float.Input,
                    "keypoint_weight",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much it counts that the joints are where the target has them.",
                ),
                *span("the sampling is pulled"),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                Guidance.Output(
                    display_name="guidance",
                    tooltip="What was done in every step, for Guidance Preview; filled while the "
                    "sampler runs on this model.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, pose_model, **inputs):
        return model_files.fingerprint(model_files.POSES, pose_model)

    @classmethod
    def execute(
        cls,
        model,
        pose_model,
        target,
        person,
        scale,
        field_weight,
        keypoint_weight,
        start_percent,
        end_percent,
    ):
        host = hosts.host_of(model)
        network = read_pose_model(model_files.path(model_files.POSES, pose_model))
        network.check(host.model_config(model))
        report = GuidanceReport()
        method = TowardsPose(
            network.head,
            network.field,
            shares(target, person),
            scale=scale,
            field_weight=field_weight,
            keypoint_weight=keypoint_weight,
            start=start_percent,
            end=end_percent,
            report=report,
            after_step=live(cls.hidden.unique_id, small_plot),
        )
        return io.NodeOutput(host.patch(model, method), report)
