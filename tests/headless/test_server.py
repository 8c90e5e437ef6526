"""`--server`: the same options, pictures, messages and exit codes as the embedded engine's."""

import json
import sys
import time
from threading import Thread

import pytest
import typer
from PIL import Image

from mannequin.headless.exits import exit_codes
from mannequin.headless.progress import Progress

pytest.importorskip("httpx2")
pytest.importorskip("websockets")


@pytest.fixture
def prompt():
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "there.png"}},
        "2": {
            "class_type": "Grey",
            "inputs": {"seed": 100, "size": "small"},
            "_meta": {"title": "Paint"},
        },
        "3": {"class_type": "Tint", "inputs": {"image": ["1", 0], "noise_seed": 5}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
        "5": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": "greys"},
        },
    }


@pytest.fixture
def write(tmp_path):
    """Writes a workflow file."""

    def call(prompt):
        (tmp_path / "greys.json").write_text(json.dumps(prompt))
        return tmp_path / "greys.json"

    return call


@pytest.fixture
def workflow(write, prompt):
    return write(prompt)


def test_run_prints_the_paths_and_nothing_else_on_standard_output(on_fake, workflow, tmp_path):
    done = on_fake("run", workflow, "--set", "Paint.seed=10", "-o", "pictures")
    assert done.exit_code == 0, done.output
    saved, preview = done.stdout.split()
    assert saved == str(tmp_path / "pictures" / "greys_00001_.png")
    assert preview == str(tmp_path / "pictures" / "previews" / "preview_00001_.png")
    assert Image.open(saved).getpixel((0, 0)) == (10, 10, 10)
    assert all(title in done.stderr for title in ("LoadImage", "Paint", "SaveImage"))


def test_progress_is_what_the_engine_would_tell(fake, prompt, tmp_path):
    from mannequin.headless.server.run import run_on_server

    heard = []

    class Ears(Progress):
        def node_started(self, node, index, total):
            heard.append((node.id, index, total))

        def stepped(self, node, value, total):
            heard.append((value, total))

        def node_finished(self, node, seconds, cached):
            heard.append((node.title, cached))

    fake.step_seconds = 0.05
    result = run_on_server(fake.url, prompt, None, tmp_path, progress=Ears())
    steps = [(1, 2), (2, 2)]
    assert heard[:8] == [
        *[("1", 0, 5), *steps, ("LoadImage", False)],
        *[("2", 1, 5), *steps, ("Paint", False)],
    ]
    assert heard[-1] == ("SaveImage", False)
    assert result.timings.keys() == prompt.keys()
    assert result.timings["5"] >= 0.05


def test_nothing_is_overwritten_and_the_servers_numbers_do_not_matter(on_fake, write, prompt):
    prompt["5"]["inputs"]["filename_prefix"] = "deep/greys"
    workflow = write(prompt)
    first, second = (on_fake("run", workflow, "--seed", n).stdout.split() for n in (7, 8))
    assert [path.rpartition("/out/")[2] for path in first + second] == [
        *["deep/greys_00001_.png", "previews/preview_00001_.png"],
        *["deep/greys_00002_.png", "previews/preview_00002_.png"],
    ]
    assert [Image.open(path).getpixel((0, 0))[0] for path in (first[0], second[0])] == [7, 8]


def test_seed_sets_every_kind_of_seed_and_a_picture_runs_again(on_fake, workflow, fake):
    saved = on_fake("run", workflow, "--seed", 42).stdout.split()[0]
    ran = json.loads(Image.open(saved).info["prompt"])
    assert ran["2"]["inputs"]["seed"] == ran["3"]["inputs"]["noise_seed"] == 42
    again = on_fake("run", saved)
    assert again.exit_code == 0, again.output
    assert Image.open(again.stdout.split()[0]).getpixel((0, 0)) == (42, 42, 42)
    assert len(fake.ran) == 2


def test_pictures_that_lie_here_are_sent_and_others_left_to_the_server(
    on_fake, write, prompt, fake, tmp_path
):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "deep" / "there.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "me.png")
    for key, name in (("6", "me.png"), ("7", "me.png"), ("8", "old.png [output]")):
        prompt[key] = {"class_type": "LoadImage", "inputs": {"image": name}}
    prompt["9"] = {"class_type": "LoadImage", "inputs": {"image": "there.png"}}
    done = on_fake("run", write(prompt), "--set", "1.image=deep/there.png")
    assert done.exit_code == 0, done.output
    ran = json.loads(Image.open(done.stdout.split()[0]).info["prompt"])
    names = [ran[key]["inputs"]["image"] for key in "16789"]
    assert names == ["there (1).png", "me.png", "me.png", "old.png [output]", "there.png"]
    assert fake.inputs["there.png"] == b"there"
    assert fake.inputs["me.png"] == (tmp_path / "me.png").read_bytes()
    assert fake.requests.count("POST /upload/image") == 2
    assert str(tmp_path) not in json.dumps(ran)


def test_all_that_the_server_refuses_is_listed_and_nothing_runs(on_fake, write, prompt, fake):
    prompt["6"] = {"class_type": "Grey", "inputs": {"seed": -7, "size": "small"}}
    done = on_fake("run", write(prompt), "--set", "2.seed=-5")
    assert done.exit_code == 2
    assert done.stderr.startswith("2 problems, nothing was run:\n- ")
    assert 'node 2 "Paint" (Grey), input "seed": expected a number of at least 0; came -5' in (
        done.stderr
    )
    assert 'node 6 "Grey", input "seed"' in done.stderr
    assert not fake.queued


def test_a_workflow_that_the_server_takes_in_part_is_taken_out_again(on_fake, write, prompt, fake):
    fake.stalled.set()
    prompt["healthy"] = {"class_type": "Grey", "inputs": {"seed": 1, "size": "small"}}
    done = on_fake("run", write(prompt), "--set", "2.seed=-5")
    assert done.exit_code == 2
    assert 'node 2 "Paint" (Grey), input "seed"' in done.stderr
    assert len(fake.queued) == 1
    assert not fake.pending and not fake.ran


def test_what_no_server_could_run_is_not_sent(on_fake, write, prompt, fake):
    prompt["6"] = {"class_type": "Grey", "inputs": {"images": ["99", 0]}}
    prompt["7"] = {"class_type": "Tinted", "inputs": {}}
    prompt["8"] = {"class_type": "SaveImage", "inputs": {"images": ["6", 3]}}
    prompt["3"]["inputs"]["image"] = ["3", 0]
    done = on_fake("run", write(prompt), "--set", "Nobody.seed=1", "--seed", "1")
    assert done.exit_code == 2
    assert done.stderr.startswith("5 problems, nothing was run:\n- ")
    for said in (
        'node 7 "Tinted": expected a node that http://127.0.0.1',
        'Did you mean "Tint"? Install the node\'s pack there.',
        "node id '99'",
        "has outputs 0 to 0",
        "a cycle: ",
        '"Nobody", which no node is called',
    ):
        assert said in done.stderr
    assert "POST /prompt" not in fake.requests and "POST /upload/image" not in fake.requests


def test_a_node_that_fails_exits_with_1_and_earlier_pictures_arrive(
    on_fake, write, prompt, fake, tmp_path
):
    prompt["6"] = {"class_type": "Grey", "inputs": {"seed": 13}, "_meta": {"title": "Unlucky"}}
    done = on_fake("run", write(prompt))
    assert done.exit_code == 1
    assert done.stderr.endswith('Failed: node 6 "Unlucky" (Grey): expected luck\n')
    assert not done.stdout
    assert (tmp_path / "out" / "greys_00001_.png").exists()


def test_a_bug_shows_the_servers_traceback():
    from mannequin.headless.server.problems import failure

    data = {"node_id": "5.0.1", "exception_type": "torch.OutOfMemoryError", "traceback": ["tr"]}
    error = failure({"5": {"class_type": "Big", "inputs": {}}}, data)
    with pytest.raises(typer.Exit) as stopped, exit_codes():
        raise error
    assert stopped.value.exit_code == 1
    assert str(error) == 'node 5 "Big": OutOfMemoryError'
    assert (error.__cause__.kind, error.__cause__.traceback) == ("OutOfMemoryError", "tr")


def test_an_interrupt_on_the_server_exits_with_130(on_fake, workflow, fake):
    fake.interrupted = type("Everything", (set,), {"__contains__": lambda self, item: True})()
    done = on_fake("run", workflow)
    assert done.exit_code == 130
    assert "Interrupted on the server by somebody else" in done.stderr


def test_other_jobs_before_ours_are_told_of(on_fake, workflow, fake):
    fake.put({"1": {"class_type": "Grey", "inputs": {}}})
    fake.stalled.set()

    def go_on():
        while fake.requests.count("GET /queue") < 2:
            time.sleep(0.01)
        fake.stalled.clear()

    Thread(target=go_on, daemon=True).start()
    done = on_fake("run", workflow)
    assert done.exit_code == 0
    assert "waiting for 1 other job\n" in done.stderr
    assert len(fake.ran) == 2


def test_validate_asks_what_the_server_has_and_sends_nothing(on_fake, write, prompt, fake):
    workflow = write(prompt)
    assert "5 nodes, nothing wrong" in on_fake("validate", workflow).stdout
    prompt["2"]["inputs"]["size"] = "huge"
    del prompt["3"]["inputs"]["noise_seed"]
    done = on_fake("validate", write(prompt), "--seed", -1, "--set", "1.image=nowhere.png")
    assert done.exit_code == 2
    assert done.stderr.startswith("4 problems, nothing was run:\n- ")
    assert "expected one of 'small', 'large'; came \"huge\"" in done.stderr
    assert "nowhere.png" in done.stderr
    assert not any(request.startswith("POST") for request in fake.requests)


def test_inputs_that_only_comfyui_understands_are_left_to_it(on_fake, write, prompt):
    prompt["2"]["inputs"] |= {"images": "any", "images.image0": ["1", 0], "more": 3}
    assert "5 nodes, nothing wrong" in on_fake("validate", write(prompt)).stdout


def test_the_saved_graph_shows_the_values_that_ran(fake, write, prompt, tmp_path):
    from mannequin.headless.server.run import run_on_server

    (tmp_path / "api").mkdir()
    drawn = [{"id": key, "type": node["class_type"]} for key, node in prompt.items()]
    drawn[1]["widgets_values"] = [0, "randomize", "large", 0.5]
    (tmp_path / "greys.json").write_text(json.dumps({"nodes": drawn}))
    (tmp_path / "api" / "greys.json").write_text(json.dumps(prompt))
    run_on_server(fake.url, tmp_path / "api" / "greys.json", None, tmp_path / "out", seed=33)
    (entry,) = fake.history.values()
    graph = entry["prompt"][3]["extra_pnginfo"]["workflow"]
    assert graph["nodes"][1]["widgets_values"] == [33, "randomize", "small", 0.5]


def test_files_of_other_names_keep_them_and_none_leaves_the_folder(fake, prompt, tmp_path):
    from mannequin.headless import folders
    from mannequin.headless.server import ServerError
    from mannequin.headless.server.connection import Connection
    from mannequin.headless.server.files import download

    def entry(*names):
        files = [{"filename": name, "subfolder": "", "type": "output"} for name in names]
        other = [{"filename": "me.png", "subfolder": "", "type": "input"}, "text"]
        return {"outputs": {"5": {"gifs": files + other, "text": ["hello"]}}}

    for name in ("song.flac", "x_00007.mp4", "evil_00001_.png"):
        fake.files[name, "", "output"] = name.encode()
    with Connection(fake.url) as server:
        from mannequin.headless.server.catalog import catalog

        nodes = catalog(server.json("/object_info"))
        names = [
            [path.name for path in download(server, prompt, nodes, entry(*two), tmp_path)["images"]]
            for two in [("song.flac", "x_00007.mp4")] * 2
        ]
        assert names == [
            ["song.flac", "x_00007.mp4"],
            ["song_00001_.flac", "x_00007_00001_.mp4"],
        ]
        with pytest.raises(ServerError, match="has lost gone_00001_"):
            download(server, prompt, nodes, entry("gone_00001_.png"), tmp_path)
        evil = entry("evil_00001_.png")
        evil["outputs"]["5"]["gifs"][0]["subfolder"] = "../.."
        with pytest.raises(ServerError, match="leaves the output folder"):
            download(server, prompt, nodes, evil, tmp_path / "a" / "b")
    assert folders.get_output_directory() != str(tmp_path)
    written = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert sorted(written) == sorted(names[0] + names[1])


def test_without_server_its_libraries_are_not_needed(on_fake, workflow, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("mannequin.headless.server.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)
    monkeypatch.setitem(sys.modules, "websockets.exceptions", None)
    done = on_fake("validate", workflow, server=None)
    assert done.exit_code == 2
    assert "a node that the embedded engine knows" in done.stderr
    assert not any(name.startswith("mannequin.headless.server.") for name in sys.modules)
    done = on_fake("run", workflow)
    assert done.exit_code == 1
    assert "websockets.exceptions, which is not installed. Run: pip install" in done.stderr
