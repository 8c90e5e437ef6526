"""Running: order, laziness, memory between runs, progress, errors, interrupts, saved workflows."""

import json

import pytest
import torch
from PIL import Image

from mannequin.headless import NodeError, Progress, WorkflowError, run_workflow


class Journal(Progress):
    def __init__(self):
        self.lines = []

    def node_started(self, node, index, total):
        self.lines.append(f"start {index + 1}/{total} {node.title}")

    def stepped(self, node, value, total):
        self.lines.append(f"{node.title} {value:g}/{total:g}")

    def node_finished(self, node, seconds, cached):
        self.lines.append(f"{'cached' if cached else 'done'} {node.title}")


@pytest.fixture
def run(engine, tmp_path):
    def start(prompt, settings=None, **options):
        return run_workflow(prompt, settings, tmp_path, engine=engine, **options)

    return start


def test_pictures_outputs_and_timings(run, prompt, tmp_path):
    result = run(prompt)
    assert result.images == [tmp_path / "greys_00001_.png", tmp_path / "greys_00002_.png"]
    assert [Image.open(path).getpixel((0, 0))[0] for path in result.images] == [100, 200]
    assert result.outputs["3"][0].shape == (2, 8, 8, 3)
    assert len(result.outputs["1"]) == 2
    assert result.outputs["4"] == ()
    assert set(result.timings) == {"1", "2", "3", "4"}
    assert result.seconds >= sum(result.timings.values())


def test_only_what_outputs_need_runs_and_previews_stay_apart(run, prompt, tmp_path):
    prompt["5"] = {"class_type": "Join", "inputs": {"a": ["1", 0]}}
    prompt["6"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    result = run(prompt)
    assert "5" not in result.outputs
    assert result.previews == [tmp_path / "previews" / "preview_00001_.png"]
    assert result.previews[0].is_file()
    assert len(result.images) == 2


def test_progress_of_nodes_and_steps(run, prompt):
    journal = Journal()
    run(prompt, progress=journal)
    assert journal.lines[:5] == [
        "start 1/4 Dark grey",
        "Dark grey 1/3",
        "Dark grey 2/3",
        "Dark grey 3/3",
        "done Dark grey",
    ]
    assert journal.lines[-2:] == ["start 4/4 Save both", "done Save both"]


def test_unchanged_nodes_are_not_run_again(run, prompt, nodes):
    paint, join = nodes["Paint"], nodes["Join"]
    run(prompt)
    journal = Journal()
    again = run(prompt, progress=journal)
    assert (paint.calls, join.calls) == (2, 1)
    assert "cached Dark grey" in journal.lines
    assert [path.name for path in again.images] == ["greys_00003_.png", "greys_00004_.png"]
    run(prompt, {"Light grey.seed": 50})
    assert (paint.calls, join.calls) == (3, 2)
    assert run(prompt, {"Light grey.seed": 50}, seed=None).outputs["3"][0][1].max() < 0.2
    assert (paint.calls, join.calls) == (3, 2)


def test_a_node_wired_to_another_output_is_not_mistaken_for_the_same(run, prompt, nodes):
    prompt["3"]["inputs"] = {"a": ["1", 0]}
    first = run(prompt).outputs["3"][0]
    prompt["3"]["inputs"] = {"a": ["2", 0]}
    assert not torch.equal(run(prompt).outputs["3"][0], first)


def test_a_changed_picture_file_is_read_again(run, prompt, tmp_path):
    path = tmp_path / "in.png"
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": str(path)}}
    Image.new("RGB", (8, 8), (10, 10, 10)).save(path)
    first = run(prompt).outputs["1"][0]
    assert run(prompt).outputs["1"][0] is first
    Image.new("RGB", (8, 8), (30, 20, 10)).save(path)
    assert run(prompt).outputs["1"][0][0, 0, 0].tolist() == pytest.approx(
        [30 / 255, 20 / 255, 10 / 255]
    )


def test_an_error_names_the_node_and_keeps_its_cause(run, prompt, tmp_path, nodes):
    early = {"images": ["1", 0], "filename_prefix": "early"}
    prompt = {"0": {"class_type": "SaveImage", "inputs": early}, **prompt}
    with pytest.raises(NodeError, match='node 3 "Join": expected two pictures of one size') as e:
        run(prompt, {"Light grey.size": "large"})
    assert isinstance(e.value.__cause__, ValueError)
    assert e.value.node.id == "3"
    assert [path.name for path in tmp_path.glob("*.png")] == ["early_00001_.png"]
    run(prompt)
    assert nodes["Paint"].calls == 3


def test_an_interrupt_keeps_what_is_done_and_the_next_run_goes_on(run, prompt, nodes, tmp_path):
    paint = nodes["Paint"]
    early = {"images": ["1", 0], "filename_prefix": "early"}
    prompt["0"] = {"class_type": "SaveImage", "inputs": early}
    run({key: prompt[key] for key in ("0", "1")})
    paint.steps_before_interrupt = 2
    with pytest.raises(KeyboardInterrupt):
        run(prompt)
    assert all(path.suffix == ".png" for path in tmp_path.iterdir())
    assert all(Image.open(path).load() for path in tmp_path.iterdir())
    paint.steps_before_interrupt = None
    assert len(run(prompt).images) == 3
    assert paint.calls == 3


def test_what_an_interrupted_run_replaces_is_forgotten(run, prompt, nodes):
    run(prompt)
    nodes["Paint"].steps_before_interrupt = 0
    with pytest.raises(KeyboardInterrupt):
        run(prompt, {"Light grey.seed": 50})
    nodes["Paint"].steps_before_interrupt = None
    journal = Journal()
    run(prompt, progress=journal)
    assert "cached Dark grey" in journal.lines
    assert "done Light grey" in journal.lines


def test_a_saved_picture_runs_again(run, prompt):
    first = run(prompt, {"Dark grey.seed": 42})
    again = run(str(first.images[0]))
    assert Image.open(first.images[0]).text["prompt"] == Image.open(again.images[0]).text["prompt"]
    assert Image.open(again.images[0]).getpixel((0, 0))[0] == 42


def test_a_picture_without_workflow_is_refused(run, tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="expected a PNG that carries its workflow"):
        run(tmp_path / "plain.png")


def test_a_broken_picture_as_workflow_is_refused(run, prompt, tmp_path):
    whole = run(prompt).images[0].read_bytes()
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("spoilt", whole.replace(b"IDAT", b"IxAT")),
    ):
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(WorkflowError, match=f"{name}.png: expected a PNG that carries"):
            run(path)


def test_the_graph_in_a_saved_picture_shows_the_values_used(run, prompt, tmp_path):
    graph = {
        "nodes": [
            {"id": 1, "type": "Paint", "widgets_values": [100, "randomize", 1.0, False, "small"]},
            {"id": 2, "type": "Paint", "widgets_values": [200, "fixed", 1.0, False, "small"]},
            {"id": 3, "type": "Join"},
            {"id": 4, "type": "SaveImage", "widgets_values": ["greys"]},
            {"id": 9, "type": "Note", "widgets_values": ["hello"]},
        ],
        "links": [],
    }
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "greys.json").write_text(json.dumps(prompt))
    (tmp_path / "greys.json").write_text(json.dumps(graph))
    saved = run(tmp_path / "api" / "greys.json", {"1.seed": 7, "1.size": "small"}).images[0]
    shown = json.loads(Image.open(saved).text["workflow"])
    assert shown["nodes"][0]["widgets_values"] == [7, "randomize", 1.0, False, "small"]
    assert shown["nodes"][1:] == graph["nodes"][1:]
    graph["nodes"][2]["type"] = "Other"
    (tmp_path / "greys.json").write_text(json.dumps(graph))
    saved = run(tmp_path / "api" / "greys.json").images[0]
    assert "workflow" not in Image.open(saved).text


def test_nodes_run_without_gradients(run, prompt):
    assert run(prompt).outputs["1"][0].is_inference()
