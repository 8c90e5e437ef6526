"""Checks a workflow as ComfyUI does before it runs, and reports everything at once.

Nodes must exist, wires must fit, values must be in range and nothing may go in circles. As in
ComfyUI, inputs are checked for the nodes that an output node needs, and inputs that a node does
not know are left alone.
"""

import inspect
import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from . import folders
from .registry import Registry
from .schema import Custom, Input, Schema
from .workflow import Problem, Prompt, is_link, node_ref, problem

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
STRANGERS = (
    "a node that the embedded engine knows",
    "`mannequin nodes` lists all; workflows with other packs' nodes run in ComfyUI, also from "
    "here with --server.",
)


def check(
    prompt: Prompt, registry: Registry, strangers: tuple[str, str] = STRANGERS
) -> tuple[Prompt, list[Problem]]:
    """The workflow with its values in their declared types, and all that is wrong with it.

    strangers: what is expected of a node's class, and what to do about an unknown one.
    """
    checked = {key: {**node, "inputs": dict(node["inputs"])} for key, node in prompt.items()}
    schemas, needed, problems = _survey(checked, registry, strangers)
    for key in needed:
        if key in schemas:
            problems += _check_node(checked, key, schemas, registry)
    return checked, problems + _cycles(checked, needed)


def check_wires(
    prompt: Prompt, registry: Registry, strangers: tuple[str, str] = STRANGERS
) -> tuple[Prompt, list[Problem]]:
    """The workflow as it is, and what no engine could run: unknown nodes, nothing to save, wires
    from nowhere, circles. Values and types are left to whoever runs it."""
    schemas, needed, problems = _survey(prompt, registry, strangers)
    for key in needed:
        for name, value in prompt[key]["inputs"].items():
            if is_link(value):
                spec = Custom("*").Input(name)
                where = f'{node_ref(prompt, key)}, input "{name}"'
                found = _check_wire(prompt, value, spec, where, schemas)
                problems += [Problem(found.where, found.text, key)] if found else []
    return prompt, problems + _cycles(prompt, needed)


def _survey(
    prompt: Prompt, registry: Registry, strangers: tuple[str, str]
) -> tuple[dict[str, Schema], list[str], list[Problem]]:
    """Schemas of the known nodes, ids of the nodes that the outputs need, and what is missing."""
    schemas = {
        key: registry[node["class_type"]].GET_SCHEMA()
        for key, node in prompt.items()
        if node["class_type"] in registry
    }
    problems = [_unknown(prompt, key, registry, strangers) for key in prompt if key not in schemas]
    outputs = [key for key, schema in schemas.items() if schema.is_output_node]
    if not outputs and not problems:
        problems.append(
            problem(
                "the workflow",
                "at least one output node",
                f"{len(prompt)} nodes that all keep their result to themselves",
                "Add a SaveImage or PreviewImage node and connect a picture to it.",
            )
        )
    return schemas, needed_by(prompt, outputs) if outputs else list(prompt), problems


def needed_by(prompt: Prompt, outputs: Iterable[str]) -> list[str]:
    """The ids of the given nodes and of all that they depend on, in the workflow's order."""
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        key = waiting.pop()
        if key in prompt and key not in found:
            found.add(key)
            waiting += upstream(prompt, key)
    return [key for key in prompt if key in found]


def upstream(prompt: Prompt, key: str) -> list[str]:
    """The ids that a node's wires come from, in the order of its inputs."""
    return [value[0] for value in prompt[key]["inputs"].values() if is_link(value)]


def _unknown(prompt: Prompt, key: str, registry: Registry, strangers: tuple[str, str]) -> Problem:
    name = prompt[key]["class_type"]
    close = get_close_matches(name, registry, 1)
    expected, todo = strangers
    todo = f'Did you mean "{close[0]}"? {todo}' if close else todo
    return problem(node_ref(prompt, key), expected, f'the class "{name}"', todo, key)


def _cycles(prompt: Prompt, needed: list[str]) -> list[Problem]:
    """One problem per circle of wires."""
    wires = {key: {k for k in upstream(prompt, key) if k in prompt} for key in needed}
    problems = []
    while True:
        try:
            TopologicalSorter(wires).prepare()
            return problems
        except CycleError as error:
            circle = error.args[1]
            path = " -> ".join(f'{key} "{node_ref(prompt, key).title}"' for key in circle)
            problems.append(
                problem(
                    node_ref(prompt, circle[0]),
                    "wires that lead from inputs to outputs",
                    f"a cycle: {path}",
                    "Remove one of these wires.",
                    circle[0],
                )
            )
            wires[circle[1]].discard(circle[0])


def _check_node(
    prompt: Prompt, key: str, schemas: dict[str, Schema], registry: Registry
) -> list[Problem]:
    """Checks one node's inputs and writes converted values back into the prompt."""
    node = node_ref(prompt, key)
    inputs = prompt[key]["inputs"]
    validator = getattr(registry[node.class_type], "validate_inputs", None)
    asked = list(inspect.signature(validator).parameters) if validator else []
    problems = []
    for spec in schemas[key].inputs:
        where = f'{node}, input "{spec.id}"'
        value = inputs.get(spec.id)
        if spec.id not in inputs:
            found = None if spec.optional else _missing(prompt, spec, where, schemas)
        elif isinstance(value, list):
            found = _check_wire(prompt, value, spec, where, schemas)
        else:
            if isinstance(value, dict) and "__value__" in value:
                value = value["__value__"]
            inputs[spec.id], found = _check_value(value, spec, where, spec.id in asked)
        if found:
            problems.append(Problem(found.where, found.text, key))
    constants = {
        name: None if is_link(inputs[name]) else inputs[name] for name in asked if name in inputs
    }
    if len(constants) == len(asked) > 0:
        verdict = validator(**constants)
        if verdict is not True:
            text = verdict or f"the node refused {constants}"
            problems.append(Problem(f'{node}, input "{", ".join(asked)}"', text, key))
    return problems


def _missing(prompt: Prompt, spec: Input, where: str, schemas: dict[str, Schema]) -> Problem:
    if spec.get_io_type() in WIDGETS:
        return problem(where, describe(spec), "nothing", "Add the value to the workflow.")
    return problem(where, describe(spec), "nothing", _suppliers(prompt, spec, schemas))


def _suppliers(prompt: Prompt, spec: Input, schemas: dict[str, Schema]) -> str:
    """What to connect: the outputs of the right type that the workflow has."""
    found = [
        f"{node_ref(prompt, key)}, output {index}"
        for key, schema in schemas.items()
        for index, output in enumerate(schema.outputs)
        if fits(output.io_type, spec.get_io_type())
    ]
    return f"Connect {' or '.join(found[:3]) or f'a node that gives {spec.get_io_type()}'}."


def _check_wire(
    prompt: Prompt, link: list, spec: Input, where: str, schemas: dict[str, Schema]
) -> Problem | None:
    if not is_link(link) or not isinstance(link[1], int):
        return problem(
            where,
            'a wire, ["node id", output number]',
            json.dumps(link),
            "Repair the list, or export the workflow again.",
        )
    source, index = link
    if source not in prompt:
        there = ", ".join(f'{key} "{node_ref(prompt, key).title}"' for key in prompt)
        todo = f"Connect one of the nodes that are there: {there}."
        return problem(where, "a wire from a node of this workflow", f"node id {source!r}", todo)
    if source not in schemas:
        return None  # the unknown node has been reported already
    outputs = schemas[source].outputs
    if not 0 <= index < len(outputs):
        has = f"outputs 0 to {len(outputs) - 1}" if outputs else "no outputs"
        came = f"output {index} of {node_ref(prompt, source)}, which has {has}"
        return problem(where, "an output that exists", came, _suppliers(prompt, spec, schemas))
    if not fits(outputs[index].io_type, spec.get_io_type()):
        came = f"{outputs[index].io_type} from {node_ref(prompt, source)}, output {index}"
        todo = _suppliers(prompt, spec, schemas)
        return problem(where, f"a wire of type {spec.get_io_type()}", came, todo)
    return None


def fits(given: str, wanted: str) -> bool:
    """Whether a wire of one type may enter the other: `*` is any, `A,B` is either."""
    if is_dynamic(given) or is_dynamic(wanted):
        return True
    types = set(given.split(",")), set(wanted.split(","))
    return "*" in types[0] | types[1] or bool(types[0] & types[1])


def is_dynamic(kind: str) -> bool:
    """Whether only ComfyUI itself can say what an input of this type takes."""
    return kind.startswith("COMFY_")


def describe(spec: Input) -> str:
    """What an input takes, in words: `a whole number from 1 to 100`, `a wire of type IMAGE`."""
    kind = spec.get_io_type()
    if kind == "COMBO":
        shown = ", ".join(map(repr, spec.options[:20])) or "an empty list"
        more = f" and {len(spec.options) - 20} more" if len(spec.options) > 20 else ""
        return f"one of {shown}{more}"
    words = {
        "INT": "a whole number",
        "FLOAT": "a number",
        "STRING": "text",
        "BOOLEAN": "true or false",
    }
    low, high = getattr(spec, "min", None), getattr(spec, "max", None)
    text = words.get(kind, f"a wire of type {kind}")
    text += f" from {low}" if low is not None else ""
    return text + (f" to {high}" if high is not None else "")


def _check_value(
    value: Any, spec: Input, where: str, node_checks_it: bool
) -> tuple[Any, Problem | None]:
    """The value in the input's type, and what is wrong with it."""
    kind = spec.get_io_type()
    shown = json.dumps(value, default=repr)
    wrong = problem(where, describe(spec), shown, "Change the value.")
    if kind not in WIDGETS and kind != "*" and not is_dynamic(kind):
        todo = "Connect a node's output instead."
        return value, problem(where, describe(spec), f"the value {shown}", todo)
    try:
        value = _converted(value, kind)
    except (TypeError, ValueError, OverflowError):
        return value, wrong
    if node_checks_it:
        return value, None
    if kind == "COMBO" and value not in spec.options and not _is_picture(value, spec):
        close = get_close_matches(str(value), map(str, spec.options), 1)
        todo = "Choose one of the list." if spec.options else "Install a file to choose from."
        todo = f"Did you mean {close[0]!r}?" if close else todo
        return value, problem(where, describe(spec), shown, todo)
    low, high = getattr(spec, "min", None), getattr(spec, "max", None)
    if (low is not None and value < low) or (high is not None and value > high):
        return value, wrong
    return value, None


def _is_picture(value: Any, spec: Input) -> bool:
    """Whether the input takes pictures that may still be sent, and this is one that lies here."""
    upload = getattr(spec, "upload", None)
    return bool(upload) and isinstance(value, str) and folders.exists_annotated_filepath(value)


def _converted(value: Any, kind: str) -> Any:
    """The value as the input's type; raises ValueError or TypeError where it cannot be one."""
    if kind == "INT":
        return int(value)
    if kind == "FLOAT":
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    if kind == "BOOLEAN" and not isinstance(value, bool | int):
        raise TypeError(value)
    if kind == "BOOLEAN":
        return bool(value)
    return str(value) if kind == "STRING" else value
