"""The subgraph blueprints are the workflows, folded: nothing lost, nothing wired elsewhere."""

import json

import pytest

from mannequin.lab.blueprints import INPUTS, OUTPUTS, OUTSIDE, ROOT, blueprints, folded
from mannequin.lab.graph import KINDS

BLUEPRINTS = {blueprint.name: blueprint for blueprint in blueprints()}


@pytest.fixture(params=BLUEPRINTS)
def blueprint(request):
    return BLUEPRINTS[request.param]


@pytest.fixture
def inside(blueprint):
    """The definition of what is inside, from the file that ships."""
    (definition,) = stored(blueprint)["definitions"]["subgraphs"]
    return definition


def stored(blueprint):
    return json.loads((ROOT / f"{blueprint.name}.json").read_text(encoding="utf-8"))


def test_files_are_what_the_description_says(blueprint):
    hint = "run `python -m mannequin.lab.blueprints`"
    assert stored(blueprint) == folded(blueprint), hint
    assert {path.stem for path in ROOT.iterdir()} == set(BLUEPRINTS), hint


def test_the_canvas_holds_one_node_with_all_inputs_and_outputs(blueprint, inside):
    file = stored(blueprint)
    (node,) = file["nodes"]
    assert node["type"] == inside["id"]
    assert node["id"] > max(inner["id"] for inner in inside["nodes"])
    for side in ("inputs", "outputs"):
        assert [s["name"] for s in node[side]] == list(getattr(blueprint, side))
        assert [s["name"] for s in inside[side]] == list(getattr(blueprint, side))
    inner = {str(n["id"]): KINDS[n["type"]] for n in inside["nodes"]}
    for number, widget in node["properties"]["proxyWidgets"]:
        assert widget in inner[number].inputs


def test_every_wire_of_the_workflow_is_there_and_no_other(blueprint, inside):
    nodes = {node["id"]: node for node in inside["nodes"]}
    wires = set()
    for link in inside["links"]:
        if link["target_id"] == OUTPUTS:
            continue
        target = nodes[link["target_id"]]
        place = target["inputs"][link["target_slot"]]
        assert place["link"] == link["id"]
        if link["origin_id"] == INPUTS:
            slot = inside["inputs"][link["origin_slot"]]
            assert link["id"] in slot["linkIds"]
            source = blueprint.inputs[slot["name"]]
        else:
            origin = nodes[link["origin_id"]]
            slot = origin["outputs"][link["origin_slot"]]
            assert link["id"] in slot["links"]
            source = (origin["title"], slot["name"])
        assert slot["type"] == link["type"] == place["type"]
        wires.add((source, target["title"], place["name"]))
    wanted = {
        (value, node.title, name)
        for node in blueprint.workflow.nodes
        if node.kind not in OUTSIDE
        for name, value in node.inputs.items()
        if isinstance(value, tuple)
    }
    assert wires == wanted


def test_outputs_come_from_where_they_should(blueprint, inside):
    nodes = {node["id"]: node for node in inside["nodes"]}
    found = {}
    for link in inside["links"]:
        if link["target_id"] == OUTPUTS:
            node = nodes[link["origin_id"]]
            output = node["outputs"][link["origin_slot"]]
            assert link["id"] in output["links"]
            name = inside["outputs"][link["target_slot"]]["name"]
            found[name] = (node["title"], output["name"])
    assert found == blueprint.outputs


def test_settings_stay_the_workflows(blueprint, inside):
    values = {node["title"]: node["widgets_values"] for node in inside["nodes"]}
    for node in blueprint.workflow.nodes:
        if node.kind not in OUTSIDE:
            given = [v for v in node.inputs.values() if not isinstance(v, tuple)]
            assert [v for v in values[node.title] if v in given] == given
