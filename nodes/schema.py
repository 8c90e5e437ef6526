"""What our nodes share: their wire types, and schemas that old and new ComfyUIs accept."""

import inspect
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

CATEGORY = "Mannequin"

Reference = io.Custom("MANNEQUIN_REFERENCE")
Flow = io.Custom("MANNEQUIN_FLOW")

NEWER = ("advanced", "search_aliases")


def build(make: Callable, *args: Any, **options: Any) -> Any:
    """make(*args, **options), without the options that this ComfyUI is too old to know.

    ComfyUI 0.3.64 has neither `advanced` on inputs nor `search_aliases` on schemas.
    """
    known = inspect.signature(make).parameters
    return make(*args, **{k: v for k, v in options.items() if k in known or k not in NEWER})
