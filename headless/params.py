"""Settings from the command line: `Load reference.image=me.png` changes one input of one node."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from . import folders
from .registry import Registry
from .schema import Input, UploadType
from .validate import WIDGETS, describe
from .workflow import Problem, Prompt, is_link, node_ref, problem

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")
SEEDS = ("seed", "noise_seed")


def parse_settings(texts: list[str]) -> tuple[dict[str, str], list[Problem]]:
    """`NODE.input=value` texts as {"NODE.input": "value"}, and those that are none."""
    settings: dict[str, str] = {}
    problems = []
    for text in texts:
        address, equals, value = text.partition("=")
        if not equals or "." not in address:
            example = 'Write it like --set "Load reference.image=me.png".'
            problems.append(problem("--set", "NODE.input=value", repr(text), example))
            continue
        settings[address.strip()] = value
    return settings, problems


def apply_settings(
    prompt: Prompt, settings: Mapping[str, Any], registry: Registry
) -> tuple[Prompt, list[Problem]]:
    """The workflow with inputs changed, and every setting that could not be applied.

    settings: {"NODE.input": value}; NODE is a node's id, title or class. Text is read as the
    input's declared type, other values are taken as they are; ranges are checked with the
    workflow. An image is a path anywhere on disk, or a name in the inputs folder.
    """
    changed = {key: {**node, "inputs": dict(node["inputs"])} for key, node in prompt.items()}
    problems = []
    for address, value in settings.items():
        name, _, input_id = address.rpartition(".")
        where = f'setting "{address}"'
        found = _nodes_called(prompt, name)
        if len(found) != 1:
            problems.append(_which(prompt, found, name, where))
            continue
        node = changed[found[0]]
        if node["class_type"] not in registry:
            continue  # checking the workflow reports the unknown node
        inputs = registry[node["class_type"]].GET_SCHEMA().inputs
        spec = next((spec for spec in inputs if spec.id == input_id), None)
        if spec is None or spec.get_io_type() not in WIDGETS:
            problems.append(_no_such_input(prompt, found[0], inputs, where, input_id))
            continue
        try:
            node["inputs"][input_id] = _parsed(value, spec)
        except ValueError:
            example = f"Give {describe(spec)}."
            problems.append(problem(where, describe(spec), repr(value), example))
    return changed, problems


def apply_seed(prompt: Prompt, seed: int, registry: Registry) -> tuple[Prompt, list[Problem]]:
    """The workflow with every `seed` and `noise_seed` set that is not fed by a wire."""
    settings = {
        f"{key}.{name}": seed
        for key, node in prompt.items()
        for name in SEEDS
        if name in node["inputs"] and not is_link(node["inputs"][name])
    }
    if not settings:
        todo = "Leave --seed out."
        return prompt, [problem("--seed", "a node with a seed", "none in this workflow", todo)]
    return apply_settings(prompt, settings, registry)


def _nodes_called(prompt: Prompt, name: str) -> list[str]:
    """Ids of the nodes meant: by id, else by title, else by class."""
    if name in prompt:
        return [name]
    refs = [node_ref(prompt, key) for key in prompt]
    by_title = [ref.id for ref in refs if ref.title.casefold() == name.casefold()]
    return by_title or [ref.id for ref in refs if ref.class_type == name]


def _which(prompt: Prompt, found: list[str], name: str, where: str) -> Problem:
    if found:
        ids = ", ".join(str(node_ref(prompt, key)) for key in found)
        todo = "Use the node's id instead of its name."
        return problem(where, "one node", f'the name "{name}" of {len(found)}: {ids}', todo)
    there = "; ".join(str(node_ref(prompt, key)) for key in prompt)
    return problem(
        where,
        "the title, id or class of a node",
        f'"{name}", which no node is called',
        f"There are: {there}.",
    )


def _no_such_input(
    prompt: Prompt, key: str, inputs: list[Input], where: str, input_id: str
) -> Problem:
    """The input does not exist, or is fed by wires only."""
    names = [spec.id for spec in inputs if spec.get_io_type() in WIDGETS]
    node = node_ref(prompt, key)
    if input_id in [spec.id for spec in inputs]:
        came = f'"{input_id}", which takes a wire'
    else:
        came = f'"{input_id}", which it does not have'
    close = get_close_matches(input_id, names, 1)
    todo = f"Did you mean {close[0]!r}? " if close else ""
    has = ", ".join(names) or "none"
    return problem(where, f"an input of {node} that holds a value", came, f"{todo}It has: {has}.")


def _parsed(value: Any, spec: Input) -> Any:
    """Text in the input's type; raises ValueError when it cannot be read as that."""
    if not isinstance(value, str):
        return str(value) if isinstance(value, Path) else value
    kind = spec.get_io_type()
    text = value.strip()
    if kind == "INT":
        return int(text)
    if kind == "FLOAT":
        return float(text)
    if kind == "BOOLEAN":
        if text.casefold() not in TRUE + FALSE:
            raise ValueError(text)
        return text.casefold() in TRUE
    if kind == "COMBO" and getattr(spec, "upload", None) == UploadType.image:
        return _picture(text)
    if kind == "COMBO":
        return next((option for option in spec.options if str(option) == text), text)
    return value


def _picture(text: str) -> str:
    """A picture's name as LoadImage will find it: the working directory first, then the inputs.

    The text stays as it was typed where both ways lead to the same file, so that a relative path
    does not put the user's folders into the picture that is saved.
    """
    typed = Path(text).expanduser()
    if typed.is_file() and Path(folders.get_annotated_filepath(str(typed))) != typed.resolve():
        return str(typed.resolve())
    return str(typed)
