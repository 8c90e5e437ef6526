"""Hand Repair: the hands of an existing picture painted anew, and nothing else changed."""

from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..hosts.hand_repair import repair
from ..hosts.hands import load_hand_model
from . import model_files
from .hand_pose import at_least_one, generator_inputs
from .schema import CATEGORY, Hands, build


class HandRepair(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinHandRepair",
            display_name="Hand Repair",
            category=CATEGORY,
            description="Cuts every hand out, paints it anew in its pose, and blends it back. "
            "Pixels outside the masks stay bit by bit as they were.",
            search_aliases=["fix hands", "hand detailer", "hand refiner", "meshgraphormer"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that Hand Pose was given."),
                Hands.Input("hands", tooltip="From Hand Pose: the poses that the hands get."),
                *generator_inputs(),
                io.Float.Input(
                    "reach",
                    default=0.12,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="What is painted where no mask is connected: all that is nearer to the "
                    "hand's bones than this share of the close-up's side.",
                ),
                io.Int.Input(
                    "feather",
                    default=2,
                    min=0,
                    max=256,
                    tooltip="Pixels over which the painting fades in, inwards from the mask's "
                    "edge.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What is painted, 1 there; one mask for each hand, in their order.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture with its new hands."),
                io.Mask.Output(display_name="mask", tooltip="1 where it was painted."),
                io.Image.Output(display_name="close_ups", tooltip="The new hands by themselves."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, hand_model, **inputs):
        return model_files.fingerprint(model_files.HANDS, hand_model)

    @classmethod
    def execute(cls, image, hands, hand_model, seed, steps, guidance, reach, feather, mask=None):
        model = load_hand_model(model_files.path(model_files.HANDS, hand_model))
        total = steps * max(len(hands.hands), 1)
        bar = ProgressBar(total, node_id=cls.hidden.unique_id)
        made = repair(
            model,
            image,
            hands,
            seed,
            steps,
            guidance,
            reach,
            feather,
            mask,
            after=lambda done: bar.update_absolute(done, total),
        )
        return io.NodeOutput(made.image, made.mask, at_least_one(made.close_ups))
