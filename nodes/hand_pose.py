"""Hand Pose: a pose finder's keypoints, as close-ups and drawings of every hand."""

from comfy_api.latest import io

from ..methods import hand_pose
from . import model_files
from .schema import CATEGORY, Hands, PoseKeypoint, build


def generator_inputs():
    """The inputs of every node that paints hands: which generator, seed, steps and guidance."""
    return [
        io.Combo.Input(
            "hand_model",
            options=model_files.names(model_files.HANDS),
            tooltip="A .safetensors file from models/mannequin/hands or the pack's weights/hands.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Another seed, another hand in the same pose.",
        ),
        io.Int.Input("steps", default=4, min=1, max=1000, tooltip="Denoising steps for each hand."),
        io.Float.Input(
            "guidance",
            default=1.5,
            min=0.0,
            max=10.0,
            step=0.1,
            tooltip="How much the pose counts. At 1 the network is asked once per step instead of "
            "twice.",
        ),
    ]


class HandPose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinHandPose",
            display_name="Hand Pose",
            category=CATEGORY,
            description="Reads hands from a pose finder's keypoints: where each hand is, a "
            "close-up of it, and its drawing for hand generators and ControlNets.",
            search_aliases=["hands", "openpose", "dwpose", "mediapipe", "keypoints", "skeleton"],
            inputs=[
                io.Int.Input(
                    "width",
                    default=512,
                    min=16,
                    max=8192,
                    step=8,
                    tooltip="Width of the picture that is to be painted, in pixels; with a picture "
                    "connected, its own counts.",
                ),
                io.Int.Input(
                    "height",
                    default=512,
                    min=16,
                    max=8192,
                    step=8,
                    tooltip="Height of that picture, in pixels.",
                ),
                io.Int.Input(
                    "size",
                    default=64,
                    min=16,
                    max=2048,
                    step=8,
                    tooltip="Side of the close-ups and drawings given out, in pixels. Hand Stage "
                    "draws for itself.",
                ),
                build(
                    io.Float.Input,
                    "padding",
                    default=0.35,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How much larger than the hand a close-up is. 0.35 is the framing that "
                    "mannequin-tiny-hands learned.",
                ),
                build(
                    io.Float.Input,
                    "confidence",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Points of which the pose finder is less sure are left out.",
                ),
                PoseKeypoint.Input(
                    "keypoints",
                    optional=True,
                    tooltip="POSE_KEYPOINT of DWPose or OpenPose, with hands switched on.",
                ),
                io.String.Input(
                    "keypoint_json",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="In place of keypoints: what OpenPose saves, or the short form of the "
                    "help page, with 21 points for each hand.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that the keypoints belong to: gives its size, and the "
                    "close-ups are cut out of it.",
                ),
            ],
            outputs=[
                Hands.Output(display_name="hands", tooltip="For Hand Stage and Hand Repair."),
                io.Image.Output(
                    display_name="pose_maps", tooltip="A drawing for each hand, in its close-up."
                ),
                io.Image.Output(
                    display_name="crops",
                    tooltip="A close-up of each hand; of the drawing where no picture is given.",
                ),
                io.Image.Output(
                    display_name="drawing",
                    tooltip="The whole picture's skeletons, bodies and hands, for a ControlNet.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        width,
        height,
        size,
        padding,
        confidence,
        keypoints=None,
        keypoint_json="",
        image=None,
    ):
        given = [one for one in (keypoints, keypoint_json.strip()) if one not in (None, "")]
        if len(given) != 1:
            raise ValueError(
                "Expected keypoints or keypoint_json, one of them; got "
                f"{'both' if given else 'neither'}. Connect DWPose's POSE_KEYPOINT, or paste JSON."
            )
        if image is not None:
            height, width = image.shape[1:3]
        poses = hand_pose.read(given[0], height, width, confidence, 1 + padding)
        drawing = poses.drawing()
        crops = poses.crops(drawing if image is None else image[..., :3], size)
        maps = poses.maps(size)
        return io.NodeOutput(poses, at_least_one(maps), at_least_one(crops), drawing)


def at_least_one(pictures):
    """The batch, or one black picture where there is none: Save Image and Preview Image take no
    empty batch.
    """
    return pictures if len(pictures) else pictures.new_zeros(1, *pictures.shape[1:])
