"""The node classes that workflows can name: ours and the core nodes of the embedded engine."""

from collections.abc import Coroutine
from functools import cache
from typing import Any

from . import standin

Registry = dict[str, type]


@cache
def registry() -> Registry:
    """All node classes by node id. Raises RuntimeError inside the real ComfyUI."""
    if not standin.install():
        raise RuntimeError(
            "the embedded engine runs without ComfyUI, but ComfyUI is loaded in this process. "
            "Queue the workflow in ComfyUI, or start a Python of its own."
        )
    from .. import comfy_entrypoint
    from .core_nodes import CORE_NODES

    ours = _result(_result(comfy_entrypoint()).get_node_list())
    return by_id([*CORE_NODES, *ours])


def by_id(classes: list[type]) -> Registry:
    """Node classes by their node ids; raises ValueError when two share one."""
    found: Registry = {}
    for node_class in classes:
        node_id = node_class.GET_SCHEMA().node_id
        if node_id in found:
            raise ValueError(f"two node classes are called {node_id}: give one another node_id")
        found[node_id] = node_class
    return found


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing; works inside a running event loop too."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("comfy_entrypoint and get_node_list must not wait for anything")
