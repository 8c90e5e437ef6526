"""Progress of a training node, with what the model paints so far where ComfyUI shows previews."""

from collections.abc import Callable
from typing import Any

import torch
from comfy.utils import ProgressBar
from PIL import Image

from ..methods.personalize import Personalization

EVERY, SIDE = 4, 256


def live_training(
    node_id: str | None, steps: int, vae: Any, config: dict[str, Any]
) -> Callable[[Personalization], None]:
    """What is called after every step: moves the bar, which also lets an interrupt through."""
    try:
        from comfy.cli_args import LatentPreviewMethod, args

        shown = args.preview_method != LatentPreviewMethod.NoPreviews
    except ImportError:  # the embedded engine shows no previews
        shown = False
    bar = ProgressBar(steps, node_id=node_id)

    def show(work: Personalization) -> None:
        preview = None
        if shown and work.seen is not None and work.done % EVERY == 0:
            preview = ("JPEG", picture(vae, work.seen / config["latent_scale"]), SIDE)
        bar.update_absolute(work.done, steps, preview)

    return show


def picture(vae: Any, latent: torch.Tensor) -> Image.Image:
    """The first of a batch of latents, SIDE pixels on its longer side."""
    with torch.no_grad():
        pixels = vae.decode(latent)[0].clamp(0, 1)
    drawn = Image.fromarray((pixels * 255).round().byte().cpu().numpy())
    scale = SIDE / max(drawn.size)
    return drawn.resize([round(n * scale) for n in drawn.size], Image.Resampling.BILINEAR)
