"""`mannequin run --server` on a real ComfyUI: the pictures, the errors, Ctrl-C, a bad line."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("httpx2")
pytest.importorskip("websockets")

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def hear_ctrl_c():
    """Children of a shell's background jobs ignore it otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(server, person_file, tmp_path):
    """Starts `mannequin run` in tmp_path; the embedded engine finds the random weights there."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mannequin").symlink_to(person_file.parent)

    def call(workflow, *options, out="out", url=server.url):
        if isinstance(workflow, dict):
            (tmp_path / "workflow.json").write_text(json.dumps(workflow))
            workflow = tmp_path / "workflow.json"
        command = [sys.executable, "-m", "mannequin", "run", workflow, "-o", out, *options]
        return subprocess.Popen(
            [*map(str, command), *(["--server", url] if url else [])],
            cwd=tmp_path,
            env=ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=None if sys.platform == "win32" else hear_ctrl_c,
        )

    return call


@pytest.fixture
def run(start):
    """Runs it to its end: (exit code, paths on standard output, standard error)."""

    def call(*arguments, **options):
        process = start(*arguments, **options)
        output, errors = process.communicate(timeout=300)
        return process.returncode, [Path(line) for line in output.splitlines()], errors

    return call


def jobs(server):
    return json.loads(server.get("/history"))


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)


def test_a_workflow_gives_the_embedded_engines_files(run, tmp_path):
    workflow = ROOT / "workflows" / "api" / "pose_transfer.json"
    theirs = run(workflow, "--seed", 11, out="theirs")
    ours = run(workflow, "--seed", 11, out="ours", url=None)
    assert theirs[0] == ours[0] == 0, theirs[2] + ours[2]
    assert len(theirs[1]) == 3
    for there, here in zip(theirs[1], ours[1], strict=True):
        assert there.relative_to(tmp_path / "theirs") == here.relative_to(tmp_path / "ours")
        assert abs(pixels(there) - pixels(here)).max() <= 2, there
    finished = [
        sorted(line.split(" s  ")[1] for line in run[2].splitlines()) for run in (theirs, ours)
    ]
    assert finished[0] == finished[1]
    again = run(theirs[1][0], out="again")
    assert abs(pixels(again[1][0]) - pixels(theirs[1][0])).max() == 0


def test_published_sampling_gives_the_embedded_engines_picture(
    run, every_node, pictures, comfy_version
):
    if comfy_version < (0, 8):
        pytest.skip("this ComfyUI seeds the noise of ancestral samplers differently")

    def node(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    workflow = every_node(f"{pictures}/")
    inputs = workflow["sampler"]["inputs"]
    wires = {k: inputs[k] for k in ("positive", "negative", "latent_image")}
    wires |= {"model": ["rescaled", 0], "sampler": ["chosen", 0], "sigmas": ["levels", 0]}
    workflow["chosen"] = node("KSamplerSelect", sampler_name="ddpm")
    workflow["levels"] = node(
        "MannequinDiffusersScheduler", model=["model", 0], steps=30, denoise=1.0
    )
    workflow["rescaled"] = node("MannequinGuidanceRescale", model=inputs["model"], strength=1.0)
    workflow["sampler"] = node("SamplerCustom", add_noise=True, noise_seed=3, cfg=2.5, **wires)
    theirs, ours = run(workflow, out="theirs"), run(workflow, out="ours", url=None)
    assert theirs[0] == ours[0] == 0, theirs[2] + ours[2]
    for there, here in zip(theirs[1], ours[1], strict=True):
        assert there.name == here.name
        assert abs(pixels(there) - pixels(here)).max() <= 2, there


def test_the_embedded_core_nodes_are_comfyuis(server):
    from mannequin.headless.core_nodes import CORE_NODES
    from mannequin.headless.server.catalog import catalog

    theirs = catalog(json.loads(server.get("/object_info")))
    for node_class in CORE_NODES:
        mine = node_class.GET_SCHEMA()
        real = theirs[mine.node_id].GET_SCHEMA()
        for here, there in zip(mine.inputs, real.inputs, strict=True):
            assert (here.id, here.get_io_type()) == (there.id, there.get_io_type()), mine.node_id
            for bound in ("min", "max", "optional"):
                assert getattr(here, bound, None) == getattr(there, bound, None), here
            if here.id in ("sampler_name", "scheduler", "channel"):
                assert set(here.options) <= set(there.options)
        outputs = [[output.io_type for output in made.outputs] for made in (mine, real)]
        assert outputs[0] == outputs[1], mine.node_id
        assert mine.is_output_node == real.is_output_node


def test_any_node_of_the_server_and_pictures_that_lie_here(run, pictures, tmp_path):
    mine = tmp_path / "random_source.png"  # the server has another picture of this name
    Image.open(pictures / "random_source.png").rotate(180).save(mine)
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "random_source.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "a"}},
        "4": {"class_type": "RandomNoise", "inputs": {"noise_seed": 0}},
    }
    code, (saved,), errors = run(
        workflow, "--set", "LoadImage.image=random_source.png", "--seed", 5
    )
    assert code == 0, errors
    assert saved == tmp_path / "out" / "a_00001_.png"
    assert abs(pixels(saved) - (255 - pixels(mine))).max() <= 1
    ran = json.loads(Image.open(saved).info["prompt"])
    assert ran["1"]["inputs"]["image"] == "random_source (1).png"
    assert ran["4"]["inputs"]["noise_seed"] == 5


def test_what_the_server_refuses_is_listed_with_ids_and_titles(run, server, every_node):
    before = len(jobs(server))
    workflow = every_node()
    workflow["sampler"]["inputs"] |= {"steps": 0, "scheduler": "nonsense"}
    workflow["sampler"]["_meta"] = {"title": "Sample it"}
    workflow["source"]["inputs"]["image"] = "nowhere.png"
    code, paths, errors = run(workflow)
    assert (code, paths) == (2, [])
    assert errors.startswith("3 problems, nothing was run:")
    where = 'node sampler "Sample it" (KSampler), input'
    assert f'{where} "steps": expected a number of at least 1; came 0.' in errors
    assert f'{where} "scheduler": expected a value of the server\'s list; came' in errors
    assert 'node source "LoadImage", input "image": expected what the node accepts' in errors
    assert len(jobs(server)) == before


def test_a_workflow_that_is_half_right_does_not_run(run, server, every_node):
    workflow = every_node()
    workflow["alone"] = {"class_type": "PreviewImage", "inputs": {}}
    code, _, errors = run(workflow)
    assert code == 2
    assert 'node alone "PreviewImage", input "images": expected a value or a wire' in errors
    queue = json.loads(server.get("/queue"))
    assert not queue["queue_running"] and not queue["queue_pending"]


def test_a_node_that_fails_is_named(run, every_node):
    workflow = every_node()
    workflow["target_pose"]["inputs"]["image"] = "random_source.png"
    code, _, errors = run(workflow)
    assert code == 1
    assert 'Failed: node conditioning "MannequinPersonConditioning": ' in errors
    assert "not a dense pose" in errors


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def queue(server):
    found = json.loads(server.get("/queue"))
    return len(found["queue_running"]), len(found["queue_pending"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_takes_our_job_and_no_other(start, server, every_node):
    long = every_node()
    long["sampler"]["inputs"] |= {"steps": 2000, "seed": 1}
    first = start(long)
    wait_for(lambda: queue(server) == (1, 0))
    short = every_node()
    short["sampler"]["inputs"]["seed"] = 77
    other = server.queue(short)
    second = start(short)
    wait_for(lambda: queue(server) == (1, 2))
    second.send_signal(signal.SIGINT)
    assert "Interrupted" in second.communicate(timeout=30)[1]
    assert second.returncode == 130
    assert queue(server) == (1, 1)
    first.send_signal(signal.SIGINT)
    assert "Interrupted" in first.communicate(timeout=30)[1]
    assert first.returncode == 130
    wait_for(lambda: other in jobs(server))
    assert jobs(server)[other]["status"]["status_str"] == "success"
    assert queue(server) == (0, 0)


class BadLine:
    """Passes connections on to a server and cuts two of three after a random number of bytes."""

    def __init__(self, url, seed):
        host, _, port = url.rpartition("/")[2].partition(":")
        self.target, self.chance = (host, int(port)), random.Random(seed)
        self.cut = 0
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with suppress(OSError):
            while True:
                here = self.door.accept()[0]
                there = socket.create_connection(self.target)
                bytes_left = self.chance.choice([0, self.chance.randrange(3000), 10**9])
                for way in ((here, there, 10**9), (there, here, bytes_left)):
                    threading.Thread(target=self.carry, args=way, daemon=True).start()

    def carry(self, source, sink, bytes_left):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data[:bytes_left])
                bytes_left -= len(data)
                if bytes_left <= 0:
                    self.cut += 1
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_on_a_bad_line_the_job_runs_once(run, server, every_node, seed):
    before = jobs(server).keys()
    line = BadLine(server.url, seed)
    workflow = every_node()
    workflow["sampler"]["inputs"]["seed"] = 1000 + seed
    code, paths, errors = run(workflow, url=line.url)
    line.door.close()
    assert code == 0, errors
    assert len(paths) == 4 and all(Image.open(path).size for path in paths)
    assert line.cut >= 1
    assert len(jobs(server).keys() - before) == 1
