"""Where a workflow's nodes stand on the canvas, the groups around them, and the wires' lanes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .kinds import KINDS

if TYPE_CHECKING:
    from .graph import Workflow

MARGIN, TITLE, HEAD, GAP = 20, 30, 60, 110
NOTE_WIDTH, NOTE_HEIGHT = 380, 400
LANE_STEP = 12
COLOURS = {
    "1": "#3f789e",
    "2": "#b58b2a",
    "3": "#a1309b",
    "4": "#8a8",
    "5": "#b06634",
    "6": "#b06634",
}
PLAIN = "#99a"

Point = tuple[int, int]


def place(workflow: "Workflow") -> tuple[dict[str, Point], list[dict[str, Any]]]:
    """Where every node's box begins, below its title, by title; and the groups around them.

    Columns stand side by side. In a column a node stands where `workflow.tops` says, else below the
    one before. A group that occurs in several columns becomes one box around all its nodes.
    """
    placed: dict[str, Point] = {}
    boxes: dict[str, list[int]] = {}
    x = 0
    for column in workflow.columns:
        width = _width(column)
        y = 0
        for title, members in column.items():
            y += HEAD
            for node in members:
                y = workflow.tops.get(node.title, y)
                placed[node.title] = (x, y + TITLE)
                bottom = y + TITLE + KINDS[node.kind].size[1]
                _grow(boxes, title, x, y - HEAD, x + width, bottom)
                y = bottom + MARGIN
            y += 2 * MARGIN
        x += width + 2 * MARGIN + GAP
    groups = [
        _group(number, title, box, COLOURS.get(title[0], PLAIN))
        for number, (title, box) in enumerate(boxes.items(), 1)
    ]
    if workflow.note:
        left, top = note_place()
        box = [left, top - TITLE - HEAD, left + NOTE_WIDTH, top + NOTE_HEIGHT]
        groups.append(_group(len(groups) + 1, "What to do", box, PLAIN))
    return placed, groups


def note_place() -> Point:
    """Where the note's box begins: left of everything."""
    return -(NOTE_WIDTH + 2 * MARGIN + GAP // 2), HEAD + TITLE


def lanes(workflow: "Workflow") -> Iterator[tuple[tuple[str, str], dict[str, list[Point]]]]:
    """For every lane: its output, and for each node that it leads to the points on the way.

    A wire that passes columns goes along its lane, a height at which nothing stands: into it in the
    gap after its own column, out of it in the gap before the other's.
    """
    edges, x = [], 0
    for column in workflow.columns:
        edges.append((x, x + _width(column)))
        x += _width(column) + 2 * MARGIN + GAP
    where = {
        node.title: number
        for number, column in enumerate(workflow.columns)
        for members in column.values()
        for node in members
    }
    for number, lane in enumerate(workflow.lanes):
        aside = MARGIN + 20 + LANE_STEP * (number % 7)
        first = (edges[where[lane.output[0]]][1] + aside, lane.y)
        ends = {title: edges[where[title]][0] - aside for title in lane.to}
        yield (
            lane.output,
            {
                title: [first, *((x, lane.y) for x in sorted({*ends.values()}) if x <= ends[title])]
                for title in lane.to
            },
        )


def _width(column: dict[str, list]) -> int:
    return max(KINDS[n.kind].size[0] for members in column.values() for n in members)


def _grow(boxes: dict[str, list[int]], title: str, *box: int) -> None:
    a = boxes.setdefault(title, list(box))
    a[:] = [min(a[0], box[0]), min(a[1], box[1]), max(a[2], box[2]), max(a[3], box[3])]


def _group(number: int, title: str, box: list[int], colour: str) -> dict[str, Any]:
    left, top, right, bottom = box
    return {
        "id": number,
        "title": title,
        "bounding": [left - MARGIN, top, right - left + 2 * MARGIN, bottom - top + MARGIN],
        "color": colour,
        "font_size": 24,
        "flags": {},
    }
