"""The flow on the node while the sampler runs, where ComfyUI shows previews at all."""

from collections.abc import Callable
from typing import Any

from PIL import Image

from ..methods.flow_record import FlowRecord
from ..methods.flow_view import glance
from ..methods.site import Step

SIDE = 256


def live_flow(node_id: str | None) -> Callable[[FlowRecord, Step], None] | None:
    """What shows the flow on that node after every step; None where nothing can be shown."""
    return live(node_id, picture)


def live(
    node_id: str | None, draw: Callable[[Any], Image.Image]
) -> Callable[[Any, Step], None] | None:
    """What shows a record on that node after every step, drawn by draw(record); None where nothing
    can be shown.

    ComfyUI's own preview setting decides at every step, as it does for the sampler: with previews
    off, nothing is drawn. The embedded engine shows none.
    """
    try:
        from comfy.cli_args import LatentPreviewMethod, args
        from comfy_execution.progress import get_progress_state
    except ImportError:
        return None
    if node_id is None:
        return None

    def show(record: Any, step: Step) -> None:
        if args.preview_method == LatentPreviewMethod.NoPreviews:
            return
        shown = ("JPEG", draw(record), args.preview_size)
        done, total = step.index + 1, step.total
        progress = get_progress_state()
        progress.update_progress(node_id, done, total, shown)
        if done == total:
            progress.finish_progress(node_id)

    return show


def picture(record: FlowRecord) -> Image.Image:
    """The flow recorded so far, of the first picture of the batch: SIDE pixels on its longer side,
    several references side by side.
    """
    field = record.field()
    h, w = field.xy.shape[2:4]
    scale = SIDE / max(h, w)
    colours = glance(field, round(h * scale), round(w * scale))[0]
    return Image.fromarray((colours * 255).round().byte().numpy())
