"""What our nodes share: their wire types, and schemas that old and new ComfyUIs accept."""

import inspect
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from torch import Tensor

CATEGORY = "Mannequin"

Reference = io.Custom("MANNEQUIN_REFERENCE")
Flow = io.Custom("MANNEQUIN_FLOW")
FaceEmbedding = io.Custom("FACE_EMBEDDING")
PersonAdapter = io.Custom("PERSON_ADAPTER")
Crop = io.Custom("MANNEQUIN_CROP")
Hands = io.Custom("MANNEQUIN_HANDS")
PoseKeypoint = io.Custom("POSE_KEYPOINT")
Subjects = io.Custom("MANNEQUIN_SUBJECTS")
Routes = io.Custom("MANNEQUIN_ROUTES")
Alignment = io.Custom("MANNEQUIN_ALIGNMENT")
Guidance = io.Custom("MANNEQUIN_GUIDANCE")

NEWER = ("advanced", "search_aliases")


def encoder(vae: Any, config: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """The VAE's encode, for a model of that configuration. Raises ValueError when its latents are
    not the model's.
    """

    def encode(pictures: Tensor) -> Tensor:
        latent = vae.encode(pictures)
        grid = tuple(n // config["downscale"] for n in pictures.shape[1:3])
        came = tuple(latent.shape[1:])
        wanted = (config["latent_channels"], *grid)
        if came != wanted:
            raise ValueError(
                f"Expected a VAE that makes latents of {wanted[0]} channels and "
                f"{grid[1]}x{grid[0]} cells of this picture; this one makes {came[0]} channels"
                + (f" and {came[-1]}x{came[-2]} cells" if len(came) == 3 else "")
                + ". Connect the VAE that belongs to the model: the second output of Load Person "
                "Model, or the checkpoint's own."
            )
        return latent

    return encode


def span(seen: str) -> list[Any]:
    """start_percent and end_percent: the part of the sampling in which something is seen."""
    return [
        build(
            io.Float.Input,
            name,
            default=default,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip=f"Part of the sampling {where} which {seen}, 0 to 1.",
        )
        for name, default, where in (("start_percent", 0.0, "after"), ("end_percent", 1.0, "up to"))
    ]


def build(make: Callable, *args: Any, **options: Any) -> Any:
    """make(*args, **options), without the options that this ComfyUI is too old to know.

    ComfyUI 0.3.64 has neither `advanced` on inputs nor `search_aliases` on schemas.
    """
    known = inspect.signature(make).parameters
    return make(*args, **{k: v for k, v in options.items() if k in known or k not in NEWER})
