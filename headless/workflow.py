"""Workflow files: reading them, and saying what is wrong with them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .progress import NodeRef

Prompt = dict[str, dict[str, Any]]

EXPORT_HINT = (
    'In ComfyUI choose "Workflow > Export (API)" (in old versions: enable dev mode, then '
    '"Save (API Format)")'
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a workflow or a setting.

    where: the node, input, file or setting it is about. text: what was expected, what came and
    what to do. node_id: the node, where it is one.
    """

    where: str
    text: str
    node_id: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def problem(where: Any, expected: str, came: str, todo: str, node_id: str | None = None) -> Problem:
    """A Problem in the words that all our errors use."""
    return Problem(str(where), f"expected {expected}; came {came}. {todo}", node_id)


class WorkflowError(ValueError):
    """A workflow that cannot run, with every problem found in it."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


@dataclass(frozen=True)
class Workflow:
    """prompt: nodes by id in API format. graph: the same for ComfyUI's canvas, when known."""

    prompt: Prompt
    graph: dict | None = None


def node_ref(prompt: Prompt, node_id: str) -> NodeRef:
    """The node with its title; a node without a title is called by its class."""
    node = prompt[node_id]
    class_type = str(node.get("class_type"))
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return NodeRef(node_id, title or class_type, class_type)


def is_link(value: Any) -> bool:
    """Whether an input's value is a wire, [node id, output index]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def load_workflow(source: str | Path | dict) -> Workflow:
    """A workflow from API-format JSON, from a PNG that carries one, or from a dict.

    Next to `workflows/api/X.json` lies its graph `workflows/X.json`, which is taken along.
    Raises WorkflowError for anything else, saying how to get the right file.
    """
    if isinstance(source, dict):
        return Workflow(_checked(source, "the workflow", None))
    path = Path(source)
    if not path.is_file():
        raise WorkflowError([problem(path, "a workflow file", "no such file", "Check the path.")])
    if path.suffix.lower() == ".png":
        return _from_png(path)
    graph_file = path.parent.parent / path.name if path.parent.name == "api" else None
    graph = _json(graph_file) if graph_file and graph_file.is_file() else None
    return Workflow(_checked(_json(path), str(path), path), graph)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WorkflowError(
            [problem(path, "JSON text", f"{error}", f"{EXPORT_HINT} and give that file.")]
        ) from error


def _from_png(path: Path) -> Workflow:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
            chunks = dict(picture.info)
        prompt = json.loads(chunks["prompt"])
        graph = json.loads(chunks["workflow"]) if "workflow" in chunks else None
    except (KeyError, UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        came = "one without" if isinstance(error, KeyError) else str(error)
        todo = "Give a picture as ComfyUI or Mannequin saved it, or an API-format JSON file."
        raise WorkflowError(
            [problem(path, 'a PNG that carries its workflow ("prompt")', came, todo)]
        ) from error
    return Workflow(_checked(prompt, str(path), path), graph)


def _checked(data: Any, where: str, path: Path | None) -> Prompt:
    """`data` if it is a workflow in API format, else a WorkflowError."""
    expected = "a workflow in API format, {node id: {class_type, inputs}}"
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        twin = path and path.parent / "api" / path.name
        hint = f"{EXPORT_HINT} and run that file."
        todo = f"Run {twin}, its API format." if twin and twin.is_file() else hint
        raise WorkflowError(
            [problem(where, expected, "the graph that the canvas saves (nodes and links)", todo)]
        )
    if not isinstance(data, dict) or not data:
        came = "nothing in it" if data == {} else f"a {type(data).__name__}"
        raise WorkflowError([problem(where, expected, came, f"{EXPORT_HINT} and give that file.")])
    problems = [
        problem(
            f"{where}, entry {key!r}",
            "a node, {class_type, inputs}",
            f"{json.dumps(node)[:60]}",
            f"Repair or remove the entry, or export the workflow again: {EXPORT_HINT}.",
            key,
        )
        for key, node in data.items()
        if not isinstance(node, dict)
        or not isinstance(node.get("class_type"), str)
        or not isinstance(node.get("inputs", {}), dict)
    ]
    if problems:
        raise WorkflowError(problems)
    return {key: {**node, "inputs": dict(node.get("inputs", {}))} for key, node in data.items()}
