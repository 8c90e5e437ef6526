"""The shipped workflows: what they are made from, and that both their forms say the same."""

import json
import re

import pytest

from mannequin.headless.validate import check
from mannequin.lab.graph import KINDS, WIDGETS, api, graph
from mannequin.lab.workflows import ROOT, WORKFLOWS, write

NAMES = ("pose_transfer", "try_on", "two_references")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def canvas(name):
    return json.loads((ROOT / f"{name}.json").read_text(encoding="utf-8"))


def converted(graph):
    """API format of a graph, as the front end's own conversion does it."""
    links = {link[0]: link for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        values = iter(node["widgets_values"])
        inputs = {}
        for spec in node["inputs"]:
            if "widget" in spec:
                inputs[spec["name"]] = next(values)
                if spec["name"] in KINDS[node["type"]].extra:
                    next(values)  # "control after generate", "upload": not part of the API
            elif spec["link"] is not None:
                _, source, slot, target, _, _ = links[spec["link"]]
                assert target == node["id"]
                inputs[spec["name"]] = [str(source), slot]
        assert next(values, None) is None
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": node["title"]},
        }
    return prompt


def test_the_files_are_what_the_description_gives(tmp_path):
    write(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.json"))
    assert {path.stem for path in made} == set(NAMES)
    for path in made:
        assert (ROOT / path).read_bytes() == (tmp_path / path).read_bytes(), (
            f"{path}: run `python -m mannequin.lab.workflows`"
        )


def test_canvas_and_api_are_the_same_workflow(name, prompt_of):
    assert converted(canvas(name)) == prompt_of(name)


def test_the_description_knows_the_nodes_as_they_are(nodes):
    for class_type, kind in KINDS.items():
        schema = nodes[class_type].GET_SCHEMA()
        assert {i.id: i.io_type for i in schema.inputs} == kind.inputs, class_type
        assert [o.io_type for o in schema.outputs] == list(kind.outputs.values()), class_type
        if class_type.startswith("Mannequin"):
            assert [o.display_name for o in schema.outputs] == list(kind.outputs)


def test_the_canvas_is_wired_both_ways(name):
    graph = canvas(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert graph["last_node_id"] == max(nodes)
    assert graph["last_link_id"] == len(graph["links"])
    for number, source, out, target, slot, kind in graph["links"]:
        assert nodes[source]["outputs"][out]["type"] == kind
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][slot]["type"] == kind
        assert nodes[target]["inputs"][slot]["link"] == number
    for node in nodes.values():
        for spec in node["inputs"]:
            assert ("widget" in spec) == (spec["type"] in WIDGETS)


def test_the_canvas_is_tidy(name):
    graph = canvas(name)
    boxes = [(*node["pos"], *node["size"]) for node in graph["nodes"]]
    groups = [group["bounding"] for group in graph["groups"]]
    for several in (boxes, groups):
        for i, (x, y, w, h) in enumerate(several):
            for u, v, width, height in several[:i]:
                assert x >= u + width or u >= x + w or y >= v + height or v >= y + h
    for x, y, w, h in boxes:
        assert any(
            gx <= x and gy <= y - 30 and x + w <= gx + gw and y + h <= gy + gh
            for gx, gy, gw, gh in groups
        )


def test_wires_run_from_left_to_right(name):
    graph = canvas(name)
    x = {node["id"]: node["pos"][0] for node in graph["nodes"]}
    assert all(x[source] <= x[target] for _, source, _, target, _, _ in graph["links"])


def test_titles_are_unique_so_that_they_can_be_set(name, prompt_of):
    titles = [node["_meta"]["title"] for node in prompt_of(name).values()]
    assert len(titles) == len(set(titles))
    loads = "Load garment" if name == "try_on" else "Load reference"
    assert {loads, "Load person model", "Sample", "Flow detail transfer"} <= set(titles)


def test_every_workflow_passes_the_check(name, prompt_of, nodes, model_folder, example_files):
    prompt = prompt_of(name)
    for node in prompt.values():
        title = node["_meta"]["title"]
        if title in example_files:
            assert re.fullmatch(r"(person|garment)_[abc]\w*\.png", node["inputs"]["image"])
            node["inputs"]["image"] = example_files[title]
        if title == "Load person model":
            assert node["inputs"]["model_name"] == "mannequin-tiny.safetensors"
            node["inputs"]["model_name"] = "random.safetensors"
    _, problems = check(prompt, nodes)
    assert problems == []


def test_a_description_with_a_misspelt_wire_is_refused():
    workflow = WORKFLOWS[0]()
    workflow.columns[-1]["Results"][0].inputs["images"] = ("Decode", "PICTURE")
    for form in (api, graph):
        with pytest.raises(ValueError, match="PICTURE"):
            form(workflow)
