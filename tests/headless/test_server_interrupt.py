"""Ctrl-C while a ComfyUI server works for us: our job leaves the server, nobody else's does."""

import json
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

pytest.importorskip("httpx2")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")

SAVE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}
GREY = {"class_type": "Grey", "inputs": {"seed": 9, "size": "small"}}
OTHER = {"1": {"class_type": "Grey", "inputs": {"seed": 9}}}


@pytest.fixture
def start(fake, tmp_path, interruptible):
    """Starts `mannequin run` in a process of its own."""
    started = []

    def call():
        (tmp_path / "w.json").write_text(json.dumps({"1": GREY, "2": SAVE, "3": GREY, "4": SAVE}))
        command = [sys.executable, "-m", "mannequin", "run", "w.json", "--server", fake.url]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, **interruptible
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stop(process):
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert not output
    return errors


def test_a_running_job_is_interrupted_and_what_it_saved_arrives(fake, start, tmp_path):
    fake.step_seconds = 0.2
    process = start()
    wait_for(lambda: fake.files)
    fake.held.set()
    assert "Interrupted; what was written until now is complete." in stop(process)
    assert fake.interrupted == set(fake.ran)
    assert len(fake.ran) == 1
    saved = tmp_path / "out" / "a_00001_.png"
    assert [path for path in saved.parent.rglob("*") if path.is_file()] == [saved]
    assert Image.open(saved).getpixel((0, 0)) == (9, 9, 9)


def test_a_waiting_job_is_taken_out_and_others_stay(fake, start):
    fake.held.set()
    fake.put(OTHER, "before")
    wait_for(lambda: fake.ran)
    process = start()
    wait_for(lambda: len(fake.queued) == 2)
    fake.put(OTHER, "after")
    stop(process)
    assert not fake.interrupted
    assert [item[3]["client_id"] for item in fake.running + fake.pending] == ["before", "after"]
    fake.held.clear()
    wait_for(lambda: len(fake.history) == 2)
    assert fake.ran == ["before", "after"]


@pytest.mark.parametrize("loss", ["after", "late"])
def test_a_job_whose_request_was_not_answered_is_taken_out_too(fake, start, loss):
    fake.stalled.set()
    fake.late_by = 1.5
    fake.faults["POST /prompt"] = [loss]
    fake.faults["GET /queue"] = ["before"] * 4
    process = start()
    wait_for(lambda: "POST /prompt" in fake.requests)
    stop(process)
    time.sleep(1.5 if loss == "late" else 0)
    assert len(fake.queued) == 1
    assert not fake.pending and not fake.ran


def test_a_server_that_is_gone_does_not_hold_the_user(fake, start):
    fake.step_seconds = 5.0
    process = start()
    wait_for(lambda: fake.ran)
    fake.vanish(60)
    begun = time.monotonic()
    assert f"{fake.url} does not answer, the job {fake.ran[0]} may go on there" in stop(process)
    assert time.monotonic() - begun < 20
