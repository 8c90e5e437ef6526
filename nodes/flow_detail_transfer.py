"""Flow Detail Transfer: the reference's own pixels give back letters and prints."""

from comfy_api.latest import io

from ..methods.flow import detail_transfer
from ..methods.framing import fit_mask
from .schema import CATEGORY, Flow, build
from .schema import Reference as ReferenceWire


class FlowDetailTransfer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinFlowDetailTransfer",
            display_name="Flow Detail Transfer",
            category=CATEGORY,
            description="Warps the references by the flow of the run and takes fine detail "
            "(letters, checks, prints) from them where the flow can be trusted; colour and shading "
            "stay the picture's. Our addition to Leffa, training-free.",
            search_aliases=["letters", "texture transfer", "sharpen from reference"],
            inputs=[
                io.Image.Input("image", tooltip="The decoded result of the sampler."),
                Flow.Input("flow", tooltip="From Flow-Guided Attention."),
                ReferenceWire.Input("reference", tooltip="The reference that was looked at."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the detail is taken. 0 gives the picture back unchanged.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How far the flow must be trusted, 0 to 1. Raise it when wrong detail "
                    "appears, lower it when too little does.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Detail is taken only where this is above 0."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Mask.Output(display_name="mask", tooltip="Where detail was taken, 0 to 1."),
            ],
        )

    @classmethod
    def execute(cls, image, flow, reference, strength, threshold, mask=None):
        if strength == 0:
            return io.NodeOutput(image, image.new_zeros(image.shape[:3]))
        inside = None if mask is None else fit_mask(mask, image, "mask")
        return io.NodeOutput(
            *detail_transfer(
                image[..., :3], reference.images, flow.field(), strength, threshold, inside
            )
        )
