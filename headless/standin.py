"""Stand-ins for the few modules of ComfyUI that our node files import.

With them in `sys.modules`, `mannequin.nodes` runs unchanged on a machine without ComfyUI. Beside
the real ComfyUI nothing is touched: there, the nodes meet the real thing.
"""

import sys
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

from . import folders, schema
from .progress import ProgressBar, report


class ComfyExtension(ABC):
    """What `comfy_entrypoint` returns."""

    async def on_load(self) -> None:  # noqa: B027  a choice, not a duty
        """Called once before the nodes are listed."""

    @abstractmethod
    async def get_node_list(self) -> list[type[schema.ComfyNode]]:
        """The node classes of the pack."""


class ComfyAPISync:
    """The part of ComfyUI's API that runs without a server: progress."""

    class execution:  # noqa: N801
        @staticmethod
        def set_progress(
            value: float,
            max_value: float,
            node_id: str | None = None,
            preview_image: Any = None,
            ignore_size_limit: bool = False,
        ) -> None:
            report(value, max_value)


class PreviewImage:
    """Pictures shown on a node: written to the previews folder of the run.

    image: [B, H, W, 3], 0..1. cls: the node, whose workflow goes into the files.
    """

    def __init__(
        self,
        image: Any,
        animated: bool = False,
        cls: type[schema.ComfyNode] | None = None,
        **unused: Any,
    ):
        from .pictures import save_pictures

        self.animated = animated
        self.values = save_pictures(image, "preview", "temp", cls.hidden if cls else None)

    def as_dict(self) -> dict:
        return {"images": self.values, "animated": (self.animated,)}


def install() -> bool:
    """Put the stand-ins into sys.modules; True when they serve, False beside the real ComfyUI."""
    served = sys.modules.get("folder_paths")
    if served is folders:
        return True
    if served or "comfy_api" in sys.modules or "comfy" in sys.modules:
        return False
    sys.modules.update(_modules())
    return True


def _modules() -> dict[str, ModuleType]:
    ui = _module("comfy_api.latest.ui", PreviewImage=PreviewImage)
    latest = _module(
        "comfy_api.latest",
        io=schema,
        ui=ui,
        ComfyExtension=ComfyExtension,
        ComfyAPISync=ComfyAPISync,
    )
    utils = _module("comfy.utils", ProgressBar=ProgressBar)
    return {
        "folder_paths": folders,
        "comfy_api": _module("comfy_api", latest=latest, __path__=[]),
        "comfy_api.latest": latest,
        "comfy": _module("comfy", utils=utils, __path__=[]),
        "comfy.utils": utils,
    }


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name, "Mannequin's stand-in for the ComfyUI module of this name.")
    module.__dict__.update(content)
    return module
