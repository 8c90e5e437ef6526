"""Writes the subgraph blueprints: `python -m mannequin.lab.blueprints`.

A blueprint is a workflow without its files, folded into one node: what was loaded becomes its
inputs, what was saved its outputs. ComfyUI lists the files of `subgraphs/` in its node library.
"""

import json
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .graph import KINDS, VERSION, Node, Workflow, graph
from .person_workflows import pose_transfer, try_on

ROOT = Path(__file__).resolve().parents[1] / "subgraphs"
INPUTS, OUTPUTS = -10, -20
ROW, WIDTH = 20, 160
MARGIN = 80
OUTSIDE = ("LoadImage", "LoadImageMask", "SaveImage", "MannequinFlowPreview")

Wire = tuple[str, str]


@dataclass(frozen=True)
class Blueprint:
    """workflow: to fold. inputs: name to the (title, output) of a loading node that it replaces.
    outputs: name to the (title, output) that it passes on. widgets: (title, widget) to show.
    """

    name: str
    description: str
    aliases: tuple[str, ...]
    workflow: Workflow
    inputs: dict[str, Wire]
    outputs: dict[str, Wire]
    widgets: tuple[Wire, ...]


SAMPLING = (
    ("Load person model", "model_name"),
    ("Flow-guided attention", "strength"),
    ("Sample", "seed"),
    ("Sample", "steps"),
    ("Sample", "cfg"),
)


def blueprints() -> list[Blueprint]:
    """All blueprints that ship."""
    return [
        Blueprint(
            "Pose Transfer (Mannequin)",
            "A person from a picture in another pose, with Leffa's flow-guided attention. Connect "
            "Flow Preview to flow, image and reference to see where every pixel came from.",
            ("leffa", "pose transfer", "reference pose"),
            pose_transfer(),
            {
                "reference": ("Load reference", "IMAGE"),
                "reference_dense_pose": ("Load reference dense pose", "IMAGE"),
                "target_pose": ("Load target pose", "IMAGE"),
            },
            {
                "image": ("Decode", "IMAGE"),
                "with_detail": ("Flow detail transfer", "image"),
                "flow": ("Flow-guided attention", "flow"),
                "reference": ("Encode reference", "reference"),
            },
            SAMPLING,
        ),
        Blueprint(
            "Try-On (Mannequin)",
            "A person in the garment of another picture, with Leffa's flow-guided attention; "
            "outside the mask every pixel stays as it was.",
            ("leffa", "virtual try-on", "garment"),
            try_on(),
            {
                "person": ("Load person", "IMAGE"),
                "person_dense_pose": ("Load person dense pose", "IMAGE"),
                "garment": ("Load garment", "IMAGE"),
                "garment_dense_pose": ("Load garment dense pose", "IMAGE"),
                "garment_mask": ("Load garment mask", "MASK"),
                "hand_protect_mask": ("Load hands mask", "MASK"),
            },
            {
                "image": ("Paste back", "IMAGE"),
                "with_detail": ("Paste back with detail", "IMAGE"),
                "flow": ("Flow-guided attention", "flow"),
                "reference": ("Encode garment", "reference"),
            },
            SAMPLING,
        ),
    ]


def folded(blueprint: Blueprint) -> dict[str, Any]:
    """The file: one node on the canvas, and the definition of what is inside."""
    inner, loaded = _without_files(blueprint.workflow)
    drawn = graph(inner)
    nodes = {node["id"]: node for node in drawn["nodes"]}
    links = [_link(*link) for link in drawn["links"]]

    def connect(origin: int, slot: int, target: int, place: int, kind: str) -> int:
        links.append(_link(len(links) + 1, origin, slot, target, place, kind))
        return len(links)

    inputs = []
    for number, (name, source) in enumerate(blueprint.inputs.items()):
        ids, kind = [], _type(blueprint.workflow, source)
        for title, wanted in loaded[source]:
            node = nodes[inner.id(title)]
            place = [i["name"] for i in node["inputs"]].index(wanted)
            ids.append(connect(INPUTS, number, node["id"], place, kind))
            node["inputs"][place]["link"] = ids[-1]
        inputs.append({"name": name, "type": kind, "linkIds": ids})
    outputs = []
    for number, (name, (title, output)) in enumerate(blueprint.outputs.items()):
        node, kind = nodes[inner.id(title)], _type(inner, (title, output))
        slot = [o["name"] for o in node["outputs"]].index(output)
        made = connect(node["id"], slot, OUTPUTS, number, kind)
        node["outputs"][slot]["links"].append(made)
        outputs.append({"name": name, "type": kind, "linkIds": [made]})
    return _file(blueprint, inner, drawn, links, inputs, outputs)


def _file(
    blueprint: Blueprint,
    inner: Workflow,
    drawn: dict[str, Any],
    links: list[dict[str, Any]],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> dict[str, Any]:
    inside = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mannequin/{blueprint.name}"))
    folded_id = drawn["last_node_id"] + 1  # the front end wants ids that no inner node has
    boxes = [group["bounding"] for group in drawn["groups"]]
    right = max(x + width for x, _, width, _ in boxes)
    middle = max(y + height for _, y, _, height in boxes) // 2
    definition = {
        "id": inside,
        "version": 1,
        "state": {
            "lastGroupId": len(boxes),
            "lastNodeId": folded_id,
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "inputNode": _side(INPUTS, (-MARGIN - WIDTH, middle), inputs, inside),
        "outputNode": _side(OUTPUTS, (right + MARGIN, middle), outputs, inside),
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": drawn["nodes"],
        "groups": drawn["groups"],
        "links": links,
        "extra": {},
        "category": "Mannequin",
    }
    node = {
        "id": folded_id,
        "type": inside,
        "title": blueprint.name,
        "pos": [0, 0],
        "size": [360, 60 + ROW * (max(len(inputs), len(outputs)) + len(blueprint.widgets))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": i["name"], "type": i["type"], "link": None} for i in inputs],
        "outputs": [{"name": o["name"], "type": o["type"], "links": None} for o in outputs],
        "properties": {
            "proxyWidgets": [[str(inner.id(t)), widget] for t, widget in blueprint.widgets]
        },
        "widgets_values": [],
    }
    return {
        "revision": 0,
        "last_node_id": folded_id,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [definition]},
        "config": {},
        "extra": {
            "BlueprintDescription": blueprint.description,
            "BlueprintSearchAliases": list(blueprint.aliases),
        },
        "version": VERSION,
    }


def _without_files(workflow: Workflow) -> tuple[Workflow, dict[Wire, list[Wire]]]:
    """The workflow without its OUTSIDE nodes, and where each of their outputs went."""
    outside = {node.title for node in workflow.nodes if node.kind in OUTSIDE}
    loaded: dict[Wire, list[Wire]] = {}

    def kept(node: Node) -> Node:
        inputs = {}
        for name, value in node.inputs.items():
            if isinstance(value, tuple) and value[0] in outside:
                loaded.setdefault(value, []).append((node.title, name))
            else:
                inputs[name] = value
        return Node(node.kind, node.title, inputs)

    columns = []
    for column in workflow.columns:
        groups = {
            title: [kept(node) for node in members if node.title not in outside]
            for title, members in column.items()
        }
        groups = {title: members for title, members in groups.items() if members}
        if groups:
            columns.append(groups)
    return replace(workflow, columns=columns, note="", lanes=()), loaded


def _type(workflow: Workflow, wire: Wire) -> str:
    kind = next(node.kind for node in workflow.nodes if node.title == wire[0])
    return KINDS[kind].outputs[wire[1]]


def _link(number: int, origin: int, slot: int, target: int, place: int, kind: str) -> dict:
    return {
        "id": number,
        "origin_id": origin,
        "origin_slot": slot,
        "target_id": target,
        "target_slot": place,
        "type": kind,
    }


def _side(
    number: int, at: tuple[int, int], slots: list[dict[str, Any]], inside: str
) -> dict[str, Any]:
    """The bar of inputs or outputs inside the subgraph, its left edge and middle at a point; gives
    its slots their ids and places.
    """
    height = ROW * (len(slots) + 2)
    x, top = at[0], at[1] - height // 2
    for row, slot in enumerate(slots):
        slot["id"] = str(uuid.uuid5(uuid.UUID(inside), f"{number}/{slot['name']}"))
        slot["pos"] = [x + (WIDTH - ROW if number == INPUTS else ROW), top + ROW * (row + 1)]
    return {"id": number, "bounding": [x, top, WIDTH, height]}


def write(root: Path) -> None:
    """Writes every blueprint into root."""
    root.mkdir(parents=True, exist_ok=True)
    for blueprint in blueprints():
        content = json.dumps(folded(blueprint), indent=2) + "\n"
        (root / f"{blueprint.name}.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
