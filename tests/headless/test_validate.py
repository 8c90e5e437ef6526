"""Every way a workflow can be wrong, and that all of them are reported at once."""

import json

import pytest

from mannequin.headless.run import prepare
from mannequin.headless.validate import check, fits
from mannequin.headless.workflow import WorkflowError, load_workflow


def problems_of(prompt, nodes):
    return [str(problem) for problem in check(prompt, nodes)[1]]


def only_problem(prompt, nodes):
    found = problems_of(prompt, nodes)
    assert len(found) == 1, found
    return found[0]


def test_a_good_workflow_has_no_problem_and_typed_values(prompt, nodes):
    prompt["1"]["inputs"].update(seed="7", gain=2)
    checked, problems = check(prompt, nodes)
    assert problems == []
    assert checked["1"]["inputs"]["seed"] == 7
    assert type(checked["1"]["inputs"]["gain"]) is float
    assert prompt["1"]["inputs"]["seed"] == "7"


def test_unknown_node(prompt, nodes):
    prompt["3"]["class_type"] = "Joyn"
    text = only_problem(prompt, nodes)
    assert text.startswith('node 3 "Joyn": expected a node that the embedded engine knows')
    assert 'Did you mean "Join"?' in text


def test_missing_wire_names_what_could_be_connected(prompt, nodes):
    del prompt["3"]["inputs"]["a"]
    text = only_problem(prompt, nodes)
    assert text.startswith('node 3 "Join", input "a": expected a wire of type IMAGE; came nothing.')
    assert 'Connect node 1 "Dark grey" (Paint), output 0' in text


def test_missing_value(prompt, nodes):
    del prompt["1"]["inputs"]["seed"]
    assert "expected a whole number from 0 to 255; came nothing" in only_problem(prompt, nodes)


def test_optional_inputs_may_be_missing(prompt, nodes):
    del prompt["3"]["inputs"]["b"]
    assert problems_of(prompt, nodes) == []


def test_type_mismatch_on_a_wire(prompt, nodes):
    prompt["3"]["inputs"]["b"] = ["2", 1]
    text = only_problem(prompt, nodes)
    assert 'expected a wire of type IMAGE; came MASK from node 2 "Light grey" (Paint)' in text


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (["9", 0], "came node id '9'. Connect one of the nodes that are there: 1 \"Dark grey\""),
        (["1", 2], "came output 2 of node 1"),
        (["4", 0], "which has no outputs"),
        (["1"], "expected a wire"),
        ([1, 0], "expected a wire"),
        ("picture", 'expected a wire of type IMAGE; came the value "picture"'),
    ],
)
def test_broken_wires(prompt, nodes, wire, says):
    prompt["3"]["inputs"]["b"] = wire
    assert any(says in text for text in problems_of(prompt, nodes))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("seed", -1, "expected a whole number from 0 to 255; came -1"),
        ("seed", 256, "came 256"),
        ("seed", "many", 'came "many"'),
        ("seed", None, "came null"),
        ("seed", float("inf"), "came Infinity"),
        ("gain", 2.01, "expected a number from 0.0 to 2.0; came 2.01"),
        ("gain", float("nan"), "came NaN"),
        ("invert", "maybe", "expected true or false"),
        ("size", "smal", "expected one of 'small', 'large'; came \"smal\". Did you mean 'small'?"),
    ],
)
def test_values_that_do_not_fit(prompt, nodes, name, value, says):
    prompt["1"]["inputs"][name] = value
    text = only_problem(prompt, nodes)
    assert says in text
    assert text.startswith(f'node 1 "Dark grey" (Paint), input "{name}"')


def test_missing_image_file(prompt, nodes):
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": "nobody.png"}}
    text = only_problem(prompt, nodes)
    assert text.startswith('node 1 "LoadImage", input "image": expected a picture file; came')
    assert "nobody.png" in text


def test_cycles_are_named(prompt, nodes):
    prompt["3"]["inputs"]["a"] = ["5", 0]
    prompt["5"] = {"class_type": "Join", "inputs": {"a": ["3", 0], "b": ["5", 0]}}
    found = problems_of(prompt, nodes)
    assert len(found) == 2
    assert all("came a cycle: " in text and "Remove one of these wires." in text for text in found)
    assert any('5 "Join" -> 5 "Join"' in text for text in found)


def test_no_output_node(prompt, nodes):
    del prompt["4"]
    assert "expected at least one output node" in only_problem(prompt, nodes)


def test_what_no_output_needs_may_be_unfinished_as_in_comfyui(prompt, nodes):
    prompt["7"] = {"class_type": "Join", "inputs": {}}
    assert problems_of(prompt, nodes) == []


def test_inputs_that_a_node_does_not_know_are_left_alone(prompt, nodes):
    prompt["1"]["inputs"]["control_after_generate"] = "fixed"
    assert problems_of(prompt, nodes) == []


def test_everything_is_reported_at_once(prompt, nodes):
    prompt["1"]["inputs"].update(seed=-1, size="huge")
    prompt["2"]["class_type"] = "Pain"
    prompt["3"]["inputs"]["b"] = ["2", 7]
    prompt["5"] = {"class_type": "PreviewImage", "inputs": {}}
    with pytest.raises(WorkflowError) as caught:
        prepare(prompt, {"Nobody.seed": 1, "1.gain": "loud"}, nodes=nodes)
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    for part in ("Nobody", "'loud'", "came -1", '"huge"', '"Pain"', 'input "images"'):
        assert part in text


@pytest.mark.parametrize(
    ("given", "wanted", "fit"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("INT", "FLOAT,INT", True),
        ("*", "MASK", True),
        ("IMAGE", "*", True),
    ],
)
def test_wire_types(given, wanted, fit):
    assert fits(given, wanted) is fit


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


GRAPH = {"nodes": [{"id": 1, "type": "Paint"}], "links": [], "version": 0.4}


def test_a_graph_is_refused_with_the_way_to_the_right_file(tmp_path, prompt):
    graph = write(tmp_path / "pose.json", GRAPH)
    with pytest.raises(WorkflowError, match=r"the graph that the canvas saves.*Export \(API\)"):
        load_workflow(graph)
    api = write(tmp_path / "api" / "pose.json", prompt)
    with pytest.raises(WorkflowError, match=r"Run .*api.pose.json"):
        load_workflow(graph)
    assert load_workflow(api).graph == GRAPH


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{ not json", "expected JSON text"),
        ("[1, 2]", "came a list"),
        ("{}", "came nothing in it"),
        ({"1": {"inputs": {}}}, "entry '1': expected a node"),
        ({"1": {"class_type": "Paint", "inputs": [1]}}, "entry '1': expected a node"),
        ({"prompt": {"1": {"class_type": "Paint"}}}, "entry 'prompt': expected a node"),
    ],
)
def test_files_that_are_no_workflow(tmp_path, content, says):
    with pytest.raises(WorkflowError, match=says):
        load_workflow(write(tmp_path / "x.json", content))


def test_a_missing_workflow_file(tmp_path):
    with pytest.raises(WorkflowError, match=r"expected a workflow file; came no such file"):
        load_workflow(tmp_path / "x.json")
