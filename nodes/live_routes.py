"""The routes on the node while the sampler runs, where ComfyUI shows previews at all."""

from collections.abc import Callable

from PIL import Image

from ..methods.route_view import glance
from ..methods.routes import RouteRecord
from ..methods.site import Step
from .live_flow import SIDE, live


def live_routes(node_id: str | None) -> Callable[[RouteRecord, Step], None] | None:
    """What shows the routes on that node after every step; None where nothing can be shown."""
    return live(node_id, picture)


def picture(record: RouteRecord) -> Image.Image:
    """The routes so far, of the first picture of the batch, SIDE pixels on its longer side."""
    h, w = record.share().shape[1:]
    scale = SIDE / max(h, w)
    colours = glance(record, round(h * scale), round(w * scale))[0]
    return Image.fromarray((colours * 255).round().byte().numpy())
