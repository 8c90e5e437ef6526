"""Workflow files from one description: API JSON for scripts, and litegraph JSON for the canvas."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MARGIN, TITLE, GAP = 20, 40, 60
VERSION = 0.4
COLOURS = ("#3f789e", "#a1309b", "#8a8", "#b58b2a", "#88a")

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@dataclass(frozen=True)
class Kind:
    """A node class as the canvas knows it: inputs and outputs in order, name to type; the values
    that front-end widgets without an input add, by the widget they follow; width and height.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (300, 120)


KINDS = {
    "LoadImage": Kind(
        {"image": "COMBO"}, {"IMAGE": "IMAGE", "MASK": "MASK"}, {"image": "image"}, (270, 330)
    ),
    "LoadImageMask": Kind(
        {"image": "COMBO", "channel": "COMBO"}, {"MASK": "MASK"}, {"channel": "image"}, (270, 330)
    ),
    "KSampler": Kind(
        {
            "model": "MODEL",
            "seed": "INT",
            "steps": "INT",
            "cfg": "FLOAT",
            "sampler_name": "COMBO",
            "scheduler": "COMBO",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "denoise": "FLOAT",
        },
        {"LATENT": "LATENT"},
        {"seed": "fixed"},
        (300, 270),
    ),
    "VAEDecode": Kind({"samples": "LATENT", "vae": "VAE"}, {"IMAGE": "IMAGE"}, {}, (300, 60)),
    "ImageCompositeMasked": Kind(
        {
            "destination": "IMAGE",
            "source": "IMAGE",
            "x": "INT",
            "y": "INT",
            "resize_source": "BOOLEAN",
            "mask": "MASK",
        },
        {"IMAGE": "IMAGE"},
        {},
        (300, 150),
    ),
    "SaveImage": Kind({"images": "IMAGE", "filename_prefix": "STRING"}, {}, {}, (330, 480)),
    "MannequinLoadPersonModel": Kind(
        {"model_name": "COMBO"}, {"model": "MODEL", "vae": "VAE"}, {}, (330, 90)
    ),
    "MannequinReferenceEncoder": Kind(
        {
            "model": "MODEL",
            "vae": "VAE",
            "image": "IMAGE",
            "dense_pose": "IMAGE",
            "more": "MANNEQUIN_REFERENCE",
        },
        {"reference": "MANNEQUIN_REFERENCE"},
        {},
        (300, 130),
    ),
    "MannequinPersonConditioning": Kind(
        {
            "model": "MODEL",
            "vae": "VAE",
            "dense_pose": "IMAGE",
            "person": "IMAGE",
            "garment_mask": "MASK",
            "hand_protect_mask": "MASK",
        },
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent": "LATENT",
            "repainted": "MASK",
        },
        {},
        (300, 150),
    ),
    "MannequinFlowGuidedAttention": Kind(
        {
            "model": "MODEL",
            "reference": "MANNEQUIN_REFERENCE",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "record_flow": "BOOLEAN",
        },
        {"model": "MODEL", "flow": "MANNEQUIN_FLOW"},
        {},
        (300, 170),
    ),
    "MannequinFlowPreview": Kind(
        {
            "flow": "MANNEQUIN_FLOW",
            "image": "IMAGE",
            "reference": "MANNEQUIN_REFERENCE",
            "mode": "COMBO",
        },
        {"image": "IMAGE"},
        {},
        (330, 480),
    ),
    "MannequinFlowDetailTransfer": Kind(
        {
            "image": "IMAGE",
            "flow": "MANNEQUIN_FLOW",
            "reference": "MANNEQUIN_REFERENCE",
            "strength": "FLOAT",
            "threshold": "FLOAT",
            "mask": "MASK",
        },
        {"image": "IMAGE", "mask": "MASK"},
        {},
        (300, 150),
    ),
}


@dataclass(frozen=True)
class Node:
    """One node: its class, its title (unique in the workflow), and its inputs in the class's
    order. A wire is the tuple (title, output name).
    """

    kind: str
    title: str
    inputs: dict[str, Any]


@dataclass(frozen=True)
class Workflow:
    """name: of the files. columns: from left to right; each maps its groups' titles to nodes."""

    name: str
    columns: list[dict[str, list[Node]]]

    @property
    def nodes(self) -> list[Node]:
        return [node for column in self.columns for group in column.values() for node in group]

    def id(self, title: str) -> int:
        return [node.title for node in self.nodes].index(title) + 1


def api(workflow: Workflow) -> dict[str, Any]:
    """The workflow in API format."""
    nodes = {node.title: node for node in workflow.nodes}

    def value(v: Any) -> Any:
        if not isinstance(v, tuple):
            return v
        title, output = v
        return [str(workflow.id(title)), list(KINDS[nodes[title].kind].outputs).index(output)]

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
    placed, groups = _layout(workflow)
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": [
            _canvas_node(node, number, placed[node.title], links)
            for number, node in enumerate(workflow.nodes, 1)
        ],
        "links": links,
        "groups": groups,
        "config": {},
        "extra": {},
        "version": VERSION,
    }


def _wires(workflow: Workflow) -> Iterator[tuple[Node, int, str, tuple[str, str]]]:
    for node in workflow.nodes:
        for slot, (name, kind) in enumerate(KINDS[node.kind].inputs.items()):
            if isinstance(node.inputs.get(name), tuple):
                yield node, slot, kind, node.inputs[name]


def _slot(node: Node, output: str) -> int:
    return list(KINDS[node.kind].outputs).index(output)


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
    return {
        "id": number,
        "type": node.kind,
        "title": node.title,
        "pos": list(at),
        "size": list(kind.size),
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": values,
    }


def _layout(workflow: Workflow) -> tuple[dict[str, tuple[int, int]], list[dict[str, Any]]]:
    """Where every node stands, by title, and the groups around them."""
    placed, groups = {}, []
    x = 0
    for column in workflow.columns:
        width = max(KINDS[n.kind].size[0] for group in column.values() for n in group)
        y = 0
        for title, members in column.items():
            top, y = y, y + TITLE + MARGIN
            for node in members:
                placed[node.title] = (x + MARGIN, y + TITLE)
                y += TITLE + KINDS[node.kind].size[1] + MARGIN
            groups.append(
                {
                    "id": len(groups) + 1,
                    "title": title,
                    "bounding": [x, top, width + 2 * MARGIN, y - top],
                    "color": COLOURS[len(groups) % len(COLOURS)],
                    "font_size": 24,
                    "flags": {},
                }
            )
            y += GAP
        x += width + 2 * MARGIN + GAP
    return placed, groups
