"""Alignment Preview: the source after every iteration of the aligner, as a picture."""

from comfy_api.latest import io, ui

from ..methods.alignment_view import sheet
from .schema import CATEGORY, Alignment, build
from .schema import Reference as ReferenceWire


class AlignmentPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinAlignmentPreview",
            display_name="Alignment Preview",
            category=CATEGORY,
            description="Shows how the aligner moved the source towards the target pose: the "
            "source after every iteration, and how sure the aligner was of each pixel.",
            search_aliases=["reposedm", "warp", "flow field", "optical flow", "visualise"],
            is_output_node=True,
            inputs=[
                Alignment.Input("alignment", tooltip="From Recurrent Pose Aligner."),
                io.Image.Input(
                    "image",
                    tooltip="The decoded result of the sampler that used the aligner; also makes "
                    "the preview wait for it.",
                ),
                ReferenceWire.Input("reference", tooltip="The reference that was aligned."),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="A sheet for each picture of the batch: the source, then one column "
                    "for each iteration; below it the confidence, black 0, white 1.",
                )
            ],
        )

    @classmethod
    def execute(cls, alignment, image, reference):
        picture = sheet(alignment, image[..., :3], reference.images)
        return io.NodeOutput(picture, ui=ui.PreviewImage(picture, cls=cls))
