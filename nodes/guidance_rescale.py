"""Guidance Rescale: keeps strong guidance from overexposing, as the published Leffa code does."""

from comfy_api.latest import io

from .. import hosts
from ..methods.guidance import rescaled_by
from .schema import CATEGORY, build


class GuidanceRescale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinGuidanceRescale",
            display_name="Guidance Rescale",
            category=CATEGORY,
            description="Brings the guided noise back to the contrast of the conditional noise "
            "(arXiv 2305.08891, section 3.4), with the published Leffa code's coefficient: the "
            "guidance itself. ComfyUI's RescaleCFG is another formula.",
            search_aliases=["leffa guidance", "rescale cfg", "guidance rescale"],
            inputs=[
                io.Model.Input("model", tooltip="The model to guide; other patches stay in place."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The coefficient is this times cfg. 1 is the published code; 0 is as "
                    "if the node were not there.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model, strength):
        if strength == 0:
            return io.NodeOutput(model)
        return io.NodeOutput(hosts.host_of(model).guide(model, rescaled_by(strength)))
