"""The commands: what they print, where, and with which exit code."""

import json
import sys
import types

import pytest
from PIL import Image
from typer.testing import CliRunner

from mannequin import __main__ as command_line
from mannequin.headless import run as run_module


@pytest.fixture
def mannequin(nodes, monkeypatch, tmp_path):
    """Runs a command in tmp_path, with the stub nodes."""
    monkeypatch.setattr(run_module, "registry", lambda: nodes)
    monkeypatch.chdir(tmp_path)
    run_module.shared_engine.cache_clear()

    def invoke(*arguments):
        return CliRunner().invoke(command_line.app, [str(a) for a in arguments])

    yield invoke
    run_module.shared_engine.cache_clear()


@pytest.fixture
def workflow(prompt, tmp_path):
    path = tmp_path / "greys.json"
    path.write_text(json.dumps(prompt))
    return path


def test_run_prints_the_paths_and_nothing_else_on_standard_output(mannequin, workflow, tmp_path):
    done = mannequin("run", workflow, "--set", "Dark grey.seed=10", "-o", "pictures")
    assert done.exit_code == 0, done.output
    paths = done.stdout.split()
    assert paths == [str(tmp_path / "pictures" / f"greys_0000{n}_.png") for n in (1, 2)]
    assert Image.open(paths[0]).getpixel((0, 0)) == (10, 10, 10)
    assert "Light grey" in done.stderr


def test_seed_sets_every_seed(mannequin, workflow):
    done = mannequin("run", workflow, "--seed", 9)
    assert [Image.open(path).getpixel((0, 0))[0] for path in done.stdout.split()] == [9, 9]


def test_wrong_settings_and_workflows_run_nothing_and_exit_with_2(mannequin, workflow, tmp_path):
    done = mannequin("run", workflow, "--set", "Nobody.seed=1", "--set", "oops", "--seed", -1)
    assert done.exit_code == 2
    assert done.stderr.startswith("4 problems, nothing was run:\n- ")
    assert not (tmp_path / "out").exists()
    assert mannequin("run", "missing.json").exit_code == 2


def test_a_node_that_fails_exits_with_1(mannequin, workflow):
    done = mannequin("run", workflow, "--set", "1.size=large")
    assert done.exit_code == 1
    assert 'Failed: node 3 "Join": expected two pictures of one size' in done.stderr


def test_a_bug_keeps_its_traceback(mannequin, workflow, nodes, monkeypatch):
    def broken(cls, **inputs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(nodes["Join"], "execute", classmethod(broken))
    done = mannequin("run", workflow)
    assert done.exit_code == 1
    assert 'node 3 "Join": shapes do not match' in str(done.exception)


def test_an_interrupt_exits_with_130(mannequin, workflow, nodes):
    nodes["Paint"].steps_before_interrupt = 1
    done = mannequin("run", workflow)
    assert done.exit_code == 130
    assert "Interrupted; what was written until now is complete." in done.stderr


def test_validate_runs_nothing(mannequin, workflow, nodes):
    assert "4 nodes, nothing wrong" in mannequin("validate", workflow).stdout
    done = mannequin("validate", workflow, "--set", "1.seed=999")
    assert done.exit_code == 2
    assert 'node 1 "Dark grey" (Paint), input "seed"' in done.stderr
    assert nodes["Paint"].calls == 0


def module(monkeypatch, name, **content):
    """Puts a made-up module in the place of one of ours."""
    made = types.ModuleType(name)
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)


def test_people_render_passes_everything_on(mannequin, monkeypatch):
    calls = []
    module(monkeypatch, "mannequin.lab.people", render_folder=lambda *args: calls.append(args))
    done = mannequin("people", "render", "folk", "--count", 3, "--seed", 7, "--split", "heldout")
    assert done.exit_code == 0, done.output
    assert [(str(call[0]), *call[1:]) for call in calls] == [("folk", 3, 7, "heldout")]
    assert mannequin("people", "render", "folk", "--split", "all").exit_code == 2


def test_bench_passes_everything_on(mannequin, monkeypatch):
    calls = []

    def run(seed, out, pairs=None):
        calls.append({"seed": seed, "out": out, "pairs": pairs})

    module(monkeypatch, "mannequin.lab.benchmarks.pose_transfer", run=run)
    arguments = ("bench", "pose-transfer", "--seed", 2, "--out", "x.json")
    assert mannequin(*arguments, "--pairs", 5).exit_code == 0
    assert mannequin(*arguments).exit_code == 0
    assert [call["pairs"] for call in calls] == [5, None]
    assert calls[0]["seed"] == 2
    assert str(calls[0]["out"]) == "x.json"


def test_pairs_are_refused_by_a_benchmark_without_pairs(mannequin, monkeypatch):
    module(monkeypatch, "mannequin.lab.benchmarks.leffa", run=lambda seed, out: None)
    assert mannequin("bench", "leffa", "--out", "x.json").exit_code == 0
    done = mannequin("bench", "leffa", "--out", "x.json", "--pairs", 5)
    assert done.exit_code == 2
    assert "leffa does not measure pairs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bench", "leffa", "--out", "figures"), "expected a file name ending in .json, came"),
        (("bench", "leffa", "--out", "x.json", "--seed", -1), "--seed"),
        (("bench", "pose-transfer", "--out", "x.json", "--pairs", 0), "--pairs"),
        (("people", "render", "folk", "--seed", -1), "--seed"),
        (("people", "render", "folk", "--count", 0), "--count"),
        (("people", "render", "taken"), "is a file"),
        (("run", "greys.json", "--out", "taken"), "is a file"),
        (("demo", "--out", "taken"), "is a file"),
    ],
)
def test_impossible_options_are_refused_before_anything_runs(
    mannequin, workflow, tmp_path, arguments, says
):
    (tmp_path / "taken").write_text("mine")
    done = mannequin(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["greys.json", "taken"]
    assert (tmp_path / "taken").read_text() == "mine"


def test_every_command_explains_itself(mannequin):
    commands = ("run", "validate", "nodes", "demo", "bench", "train", "people")
    overview = mannequin("--help").stdout
    assert "Exit codes" in overview and "..." not in overview.replace("[ARGS]...", "")
    for command in commands:
        assert f"  {command}" in overview
        assert mannequin(command, "--help").exit_code == 0
    assert "NODE.INPUT=VALUE" in mannequin("run", "--help").stdout


def test_an_unknown_benchmark_lists_those_there_are(mannequin):
    done = mannequin("bench", "nonsense", "--out", "x.json")
    assert done.exit_code == 2
    assert "expected one of: " in done.stderr
    assert "pose-transfer" in done.stderr
    assert "metrics" not in done.stderr


def test_train_gives_the_recipe_all_further_arguments(mannequin, monkeypatch, tmp_path):
    calls = []
    (tmp_path / "lab" / "training").mkdir(parents=True)
    (tmp_path / "lab" / "training" / "tiny_one.py").write_text("\ndef main(args):\n    pass\n")
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    module(monkeypatch, "mannequin.lab.training.tiny_one", main=calls.append)
    assert mannequin("train", "tiny-one", "--steps", 5, "-v", "more").exit_code == 0
    assert calls == [["--steps", "5", "-v", "more"]]


def test_a_missing_library_is_named_with_the_command_that_installs_it(mannequin, monkeypatch):
    def missing(name, package):
        raise ModuleNotFoundError("No module named 'anny'", name="anny")

    monkeypatch.setattr(command_line.importlib, "import_module", missing)
    done = mannequin("people", "render", "folk")
    assert done.exit_code == 1
    assert 'needs anny, which is not installed. Run: pip install --editable ".[people]"' in (
        done.stderr
    )


def test_demo_runs_measures_and_prints_the_paths_last(mannequin, monkeypatch, tmp_path, prompt):
    (tmp_path / "workflows" / "api").mkdir(parents=True)
    for name in command_line.DEMO:
        prompt["4"]["inputs"]["filename_prefix"] = name
        (tmp_path / "workflows" / "api" / f"{name}.json").write_text(json.dumps(prompt))
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    module(
        monkeypatch,
        "mannequin.lab.benchmarks.demo",
        report=lambda results: f"{len(results['try_on'].images)} pictures measured",
    )
    done = mannequin("demo", "--out", "shown")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "2 pictures measured"
    assert any(line.startswith("pose_transfer: ") for line in lines)
    assert lines[-1] == str(tmp_path / "shown" / f"{command_line.DEMO[-1]}_00002_.png")
