"""Route Preview: who was painted where, as a picture and as a mask."""

from comfy_api.latest import io, ui

from ..methods.route_view import VIEWS, mask, view
from .schema import CATEGORY, Routes, build


class RoutePreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinRoutePreview",
            display_name="Route Preview",
            category=CATEGORY,
            description="Draws which person every pixel of a sampling run belonged to, and gives "
            "it as a mask to other nodes.",
            search_aliases=["moa", "router", "attention map", "segmentation", "visualise"],
            is_output_node=True,
            inputs=[
                Routes.Input("routes", tooltip="From MoA Router."),
                io.Image.Input(
                    "image",
                    tooltip="The decoded result of the sampler that used the router; also makes "
                    "the preview wait for it.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(VIEWS),
                    default=VIEWS[0],
                    tooltip="people: every subject in a colour over the picture. layers: one tile "
                    "for each layer. time: one tile for each of up to 8 steps. Black 0, white 1.",
                ),
                io.Int.Input(
                    "subject",
                    default=0,
                    min=0,
                    max=64,
                    tooltip="Whose mask and tiles: 1 for the first Subject of the chain, 2 for the "
                    "next; 0 for all together.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="The subject's share of every pixel, 0 to 1, the mean over layers and "
                    "steps.",
                ),
            ],
        )

    @classmethod
    def execute(cls, routes, image, mode, subject):
        image = image[..., :3]
        picture = view(mode, routes, image, subject)
        preview = ui.PreviewImage(picture, cls=cls)
        return io.NodeOutput(picture, mask(routes, image, subject), ui=preview)
