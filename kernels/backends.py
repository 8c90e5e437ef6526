"""The backends, best first, with what each can do."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from . import merged, triton_tiles
from .registry import OPERATIONS, Backend, Operations, Registry, Request, unsupported

REGISTRY = Registry()


def _module(name: str) -> Callable[[], Operations]:
    """Loads the operations that a module of ours has, when first needed."""

    def load() -> Operations:
        module = import_module(f".{name}", __package__)
        return {op: getattr(module, op) for op in OPERATIONS if hasattr(module, op)}

    return load


def _blocks(request: Request) -> str | None:
    if request.operation != "flow_of_attention":
        return "only flow_of_attention"
    if request.device.type != "cpu":
        return f"only on cpu, not {request.device.type}"
    return unsupported(request, ["gradient of a table"])


def _merged(request: Request) -> str | None:
    if request.operation not in ("reference_attention", "joint_attention"):
        return "only several sources under one softmax"
    if request.device.type != "cpu":
        return f"only on cpu, not {request.device.type}"
    if len(request.keys) == 1:
        return "one source only: nothing to merge"
    return merged.missing() or unsupported(request, ["gradient of a table"])


def _triton(request: Request) -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed"
    return triton_tiles.refuses(request)


def _anything(request: Request) -> str | None:
    return None


REGISTRY.add(
    Backend("triton", "our GPU programs", _triton, _module("triton"), may_fail=True),
)
REGISTRY.add(Backend("blocks", "the map in blocks that fit the cache", _blocks, _module("blocks")))
REGISTRY.add(Backend("merged", "torch's CPU attention per source", _merged, _module("merged")))
REGISTRY.add(Backend("sdpa", "torch's fused attention", _anything, _module("sdpa")))
REGISTRY.add(Backend("eager", "the definition: holds the whole map", _anything, _module("eager")))
