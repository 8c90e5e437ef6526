"""Workflow files from one description: API JSON for scripts, and litegraph JSON for the canvas."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .kinds import KINDS, OURS, WIDGETS
from .layout import NOTE_HEIGHT, NOTE_WIDTH, lanes, note_place, place

VERSION = 0.4
PACK = {"cnr_id": "mannequin", "ver": "0.1.0"}
CORE = {"cnr_id": "comfy-core", "ver": "0.3.64"}
NOTE_KIND, NOTE_TITLE = "MarkdownNote", "How to use this workflow"

Wire = tuple[str, str]


@dataclass(frozen=True)
class Node:
    """One node: its class, its title (unique in the workflow), and its inputs by name. A wire is
    the tuple (title, output name). models: files that the front end may offer to download.
    """

    kind: str
    title: str
    inputs: dict[str, Any]
    models: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Lane:
    """The wires from an output to the nodes `to` run along the height y."""

    output: Wire
    y: int
    to: tuple[str, ...]


@dataclass(frozen=True)
class Workflow:
    """name: of the files. columns: from left to right; each maps its groups' titles to nodes.
    note: Markdown that stands beside the graph. tops: heights of nodes, by title.
    """

    name: str
    columns: list[dict[str, list[Node]]]
    note: str = ""
    tops: dict[str, int] = field(default_factory=dict)
    lanes: tuple[Lane, ...] = ()

    @property
    def nodes(self) -> list[Node]:
        return [node for column in self.columns for group in column.values() for node in group]

    def id(self, title: str) -> int:
        return [node.title for node in self.nodes].index(title) + 1


def api(workflow: Workflow) -> dict[str, Any]:
    """The workflow in API format, as the front end exports it. Notes are not part of it."""
    nodes = {node.title: node for node in workflow.nodes}

    def value(v: Any) -> Any:
        if not isinstance(v, tuple):
            return v
        return [str(workflow.id(v[0])), _slot(nodes[v[0]], v[1])]

    return {
        str(workflow.id(node.title)): {
            "class_type": node.kind,
            "inputs": {name: value(v) for name, v in node.inputs.items()},
            "_meta": {"title": node.title},
        }
        for node in workflow.nodes
    }


def graph(workflow: Workflow) -> dict[str, Any]:
    """The workflow as the canvas saves it, laid out in columns of groups."""
    nodes = {node.title: node for node in workflow.nodes}
    links = [
        [number, workflow.id(v[0]), _slot(nodes[v[0]], v[1]), workflow.id(node.title), slot, kind]
        for number, (node, slot, kind, v) in enumerate(_wires(workflow), 1)
    ]
    placed, groups = place(workflow)
    drawn = [
        _canvas_node(node, number, placed[node.title], links)
        for number, node in enumerate(workflow.nodes, 1)
    ]
    if workflow.note:
        drawn.append(_note(len(nodes) + 1, workflow.note))
    return {
        "last_node_id": len(drawn),
        "last_link_id": len(links),
        "nodes": drawn,
        "links": links,
        "groups": groups,
        "config": {},
        "extra": _reroutes(workflow, links),
        "version": VERSION,
    }


def _wires(workflow: Workflow) -> Iterator[tuple[Node, int, str, Wire]]:
    for node in workflow.nodes:
        for slot, (name, kind) in enumerate(KINDS[node.kind].inputs.items()):
            if isinstance(node.inputs.get(name), tuple):
                yield node, slot, kind, node.inputs[name]


def _slot(node: Node, output: str) -> int:
    outputs = list(KINDS[node.kind].outputs)
    if output not in outputs:
        raise ValueError(
            f'Expected one of the outputs {", ".join(outputs)} of "{node.title}"; got "{output}".'
        )
    return outputs.index(output)


def _canvas_node(node: Node, number: int, at: tuple[int, int], links: list[list]) -> dict[str, Any]:
    kind = KINDS[node.kind]
    into = {link[4]: link[0] for link in links if link[3] == number}
    inputs = [
        {"name": name, "type": type_, "link": into.get(slot)}
        | ({"widget": {"name": name}} if type_ in WIDGETS else {})
        for slot, (name, type_) in enumerate(kind.inputs.items())
    ]
    outputs = [
        {
            "name": name,
            "type": type_,
            "links": [link[0] for link in links if link[1] == number and link[2] == slot],
        }
        for slot, (name, type_) in enumerate(kind.outputs.items())
    ]
    values = []
    for name, type_ in kind.inputs.items():
        if type_ in WIDGETS:
            values += [node.inputs[name], *([kind.extra[name]] if name in kind.extra else [])]
    properties = {"Node name for S&R": node.kind, **(PACK if node.kind in OURS else CORE)}
    if node.models:
        properties["models"] = list(node.models)
    return _drawn(number, node.kind, node.title, at, kind.size) | {
        "inputs": inputs,
        "outputs": outputs,
        "properties": properties,
        "widgets_values": values,
    }


def _note(number: int, text: str) -> dict[str, Any]:
    size = (NOTE_WIDTH, NOTE_HEIGHT)
    return _drawn(number, NOTE_KIND, NOTE_TITLE, note_place(), size) | {
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
    }


def _drawn(
    number: int, kind: str, title: str, at: tuple[int, int], size: tuple[int, int]
) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "title": title,
        "pos": list(at),
        "size": list(size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
    }


def _reroutes(workflow: Workflow, links: list[list]) -> dict[str, Any]:
    """The lanes as litegraph's reroutes: points in a tree, and for each link the last of its way.

    Raises ValueError for a lane along which no wire runs.
    """
    nodes = {node.title: node for node in workflow.nodes}
    points: dict[tuple[Wire, tuple[int, int]], dict[str, Any]] = {}
    ends = []
    for output, ways in lanes(workflow):
        source, slot = workflow.id(output[0]), _slot(nodes[output[0]], output[1])
        for title, way in ways.items():
            target = workflow.id(title)
            numbers = [n for n, a, b, c, _, _ in links if (a, b, c) == (source, slot, target)]
            if not numbers:
                raise ValueError(f'Expected a wire from {output} to "{title}" for its lane.')
            parent = None
            for at in way:
                point = points.setdefault(
                    (output, at), {"id": len(points) + 1, "pos": list(at), "linkIds": []}
                )
                if parent is not None:
                    point["parentId"] = parent
                point["linkIds"] += numbers
                parent = point["id"]
            ends += [{"id": number, "parentId": parent} for number in numbers]
    return {"linkExtensions": ends, "reroutes": list(points.values())} if points else {}
