"""Pose Keypoints: keypoints as text, for whoever has no pose finder at hand."""

from comfy_api.latest import io

from ..methods import hand_pose
from .schema import CATEGORY, PoseKeypoint, build


class PoseKeypoints(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinPoseKeypoints",
            display_name="Pose Keypoints",
            category=CATEGORY,
            description="Keypoints from OpenPose's JSON, as a pose finder would give them: one "
            "pose, or a list of frames for a batch of pictures.",
            search_aliases=["openpose", "dwpose", "skeleton", "json", "pose"],
            inputs=[
                io.String.Input(
                    "keypoint_json",
                    default="",
                    multiline=True,
                    tooltip="What OpenPose or DWPose saves: people with 18 points as x, y and "
                    "confidence; a list of such frames for several pictures.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=16,
                    max=8192,
                    step=4,
                    tooltip="Width in pixels of the drawing, and of the canvas that the points are "
                    "on where the text names none.",
                ),
                io.Int.Input(
                    "height",
                    default=512,
                    min=16,
                    max=8192,
                    step=4,
                    tooltip="Their height, likewise.",
                ),
            ],
            outputs=[
                PoseKeypoint.Output(
                    display_name="keypoints",
                    tooltip="For Pose Guidance, Pose Check and Hand Pose.",
                ),
                io.Image.Output(
                    display_name="drawing", tooltip="The skeletons, one picture for each frame."
                ),
            ],
        )

    @classmethod
    def execute(cls, keypoint_json, width, height):
        poses = hand_pose.read(keypoint_json, height, width)
        canvas = {"people": [], "canvas_width": width, "canvas_height": height}
        named = [
            {**canvas, **{k: v for k, v in one.items() if v is not None}}
            for one in hand_pose.frames(keypoint_json)
        ]
        return io.NodeOutput(named, poses.drawing())
