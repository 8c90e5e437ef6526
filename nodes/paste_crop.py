"""Paste Crop: painted close-ups back in their pictures, and nothing else changed."""

from comfy_api.latest import io

from ..methods import crops
from .schema import CATEGORY, Crop, build


class PasteCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinPasteCrop",
            display_name="Paste Crop",
            category=CATEGORY,
            description="Puts painted close-ups back where Crop Around Mask took them from. Pixels "
            "outside the masks stay bit by bit as they were.",
            search_aliases=["paste", "stitch", "inpaint stitch", "uncrop", "detailer", "composite"],
            inputs=[
                Crop.Input("crop", tooltip="From Crop Around Mask."),
                io.Image.Input(
                    "painted",
                    tooltip="The painted close-ups, one for each mask and in their order; squares "
                    "of any size.",
                ),
                io.Int.Input(
                    "feather",
                    default=2,
                    min=0,
                    max=256,
                    tooltip="Pixels of the picture over which the painting fades in, inwards from "
                    "the mask's edge. 0: a hard edge. Large pictures want more.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="The pictures; several close-ups of one picture end up in one picture.",
                )
            ],
        )

    @classmethod
    def execute(cls, crop, painted, feather):
        return io.NodeOutput(crops.paste(crop, painted, feather))
