"""Crop Around Mask: square close-ups of what is to be repainted."""

from comfy_api.latest import io

from ..methods import crops
from .schema import CATEGORY, Crop, build


class MaskCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinMaskCrop",
            display_name="Crop Around Mask",
            category=CATEGORY,
            description="Cuts a square close-up around each mask, at the size that a model paints "
            "best. Paste Crop puts the painted close-ups back.",
            search_aliases=["crop", "inpaint crop", "face crop", "hand crop", "detailer", "zoom"],
            inputs=[
                io.Image.Input("image", tooltip="One picture, or as many as there are masks."),
                io.Mask.Input(
                    "mask",
                    tooltip="1 where the picture is to be repainted. Several masks of one picture "
                    "(two faces) make several close-ups.",
                ),
                io.Int.Input(
                    "size",
                    default=64,
                    min=16,
                    max=2048,
                    step=8,
                    tooltip="Side of the close-up in pixels: 64 for mannequin-tiny-inpaint, 512 "
                    "for SD1.5 and SD2, 1024 for SDXL.",
                ),
                io.Float.Input(
                    "padding",
                    default=0.6,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="How much larger than the mask the square is: 0 fits tightly, 1 is "
                    "twice as large. 0.6 around a face is the framing that "
                    "mannequin-tiny-inpaint learned.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The close-ups, one for each mask."),
                io.Mask.Output(display_name="mask", tooltip="The masks of the close-ups."),
                Crop.Output(
                    display_name="crop",
                    tooltip="For Paste Crop: the pictures, and where the close-ups lie in them.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, mask, size, padding):
        return io.NodeOutput(*crops.crop_around(image, mask, size, padding))
