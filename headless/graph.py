"""The canvas graph that goes into saved pictures, with the values the run really used."""

import copy
from itertools import takewhile
from typing import Any

from .registry import Registry
from .validate import WIDGETS, is_dynamic
from .workflow import Prompt, is_link

SEED_CONTROLS = ("fixed", "increment", "decrement", "randomize")


def with_values(graph: dict, prompt: Prompt, registry: Registry) -> dict | None:
    """A copy of the graph showing the prompt's values; None when it is another workflow's graph.

    graph: as ComfyUI's canvas saves it; a node keeps its values in `widgets_values`, in the order
    of its inputs, with one more entry after a seed for what happens to it between runs. Values
    after an input whose widgets only ComfyUI can count stay as they are.
    """
    shown = copy.deepcopy(graph)
    nodes = {str(node.get("id")): node for node in shown.get("nodes", [])}
    for key, node in prompt.items():
        drawn = nodes.get(key)
        if drawn is None or drawn.get("type") != node["class_type"]:
            return None
        widgets = drawn.get("widgets_values")
        if isinstance(widgets, list):
            specs = registry[node["class_type"]].GET_SCHEMA().inputs
            placed = takewhile(lambda spec: not is_dynamic(spec.get_io_type()), specs)
            names = [spec.id for spec in placed if spec.get_io_type() in WIDGETS]
            _fill(widgets, names, node["inputs"])
    return shown


def _fill(widgets: list, names: list[str], values: dict[str, Any]) -> None:
    """Write the values of the named inputs into their places of `widgets`."""
    place = 0
    for name in names:
        if place < len(widgets) and name in values and not is_link(values[name]):
            widgets[place] = values[name]
        place += 1
        if place < len(widgets) and widgets[place] in SEED_CONTROLS:
            place += 1
