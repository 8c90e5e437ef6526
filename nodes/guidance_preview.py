"""Guidance Preview: what pose guidance did in every step, as a plot and as text."""

from comfy_api.latest import io, ui

from ..methods.guidance_view import plot
from .schema import CATEGORY, Guidance, build


class GuidancePreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinGuidancePreview",
            display_name="Guidance Preview",
            category=CATEGORY,
            description="Shows what Pose Guidance did: how far the joints were from the target in "
            "every step, how much was changed, and where a change was clipped or skipped.",
            search_aliases=["reposedm", "pose guidance", "report", "plot", "visualise"],
            is_output_node=True,
            inputs=[
                Guidance.Input("guidance", tooltip="From Pose Guidance."),
                io.Image.Input(
                    "image",
                    tooltip="The decoded result of the sampler that used the guidance; makes the "
                    "preview wait for it.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Three curves over the steps."),
                io.String.Output(display_name="report", tooltip="One line for each step."),
            ],
        )

    @classmethod
    def execute(cls, guidance, image):
        picture = plot(guidance)
        return io.NodeOutput(picture, guidance.text(), ui=ui.PreviewImage(picture, cls=cls))
