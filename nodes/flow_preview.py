"""Flow Preview: where the sampler looked, as a picture."""

from comfy_api.latest import io, ui

from ..methods.flow_view import MODES, view
from .schema import CATEGORY, Flow, build
from .schema import Reference as ReferenceWire


class FlowPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinFlowPreview",
            display_name="Flow Preview",
            category=CATEGORY,
            description="Draws the flow of a sampling run. Several references stand side by side.",
            search_aliases=["flow field", "optical flow", "attention map", "visualise"],
            is_output_node=True,
            inputs=[
                Flow.Input("flow", tooltip="From Flow-Guided Attention."),
                io.Image.Input(
                    "image",
                    tooltip="The decoded result of the sampler that used the flow; also makes the "
                    "preview wait for it.",
                ),
                ReferenceWire.Input("reference", tooltip="The reference that was looked at."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=next(iter(MODES)),
                    tooltip="colour wheel: hue is the direction to the source, saturation the "
                    "distance, brightness the confidence. arrows: from the source to the pixel. "
                    "warped reference: its own pixels, moved. confidence: black 0, white 1.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, flow, image, reference, mode):
        picture = view(mode, flow.field(), image[..., :3], reference.images)
        return io.NodeOutput(picture, ui=ui.PreviewImage(picture, cls=cls))
