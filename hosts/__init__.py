"""Where a method meets a model: one module per host, chosen by what the model is."""

import sys
from types import ModuleType
from typing import Any


def current() -> ModuleType:
    """The host we run in: ComfyUI when it is loaded, otherwise diffusers."""
    if "comfy.model_patcher" in sys.modules:
        from . import comfy

        return comfy
    from . import diffusers

    return diffusers


def host_of(model: Any) -> ModuleType:
    """The host a MODEL belongs to."""
    if type(model).__module__.endswith("hosts.diffusers"):
        from . import diffusers

        return diffusers
    return current()
