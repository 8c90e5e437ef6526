"""Connections to a ComfyUI server that break anywhere: the job runs once and arrives complete."""

import random
import threading
import time
from dataclasses import replace

import pytest
from PIL import Image

pytest.importorskip("httpx2")
pytest.importorskip("websockets")

from mannequin.headless.server import ServerError
from mannequin.headless.server.connection import Pace
from mannequin.headless.server.run import run_on_server

PACE = Pace(first=0.01, longest=0.05, patience=8.0, settle=0.15, silence=0.1)


@pytest.fixture
def run(fake, tmp_path):
    """Runs a workflow of two pictures on the fake server."""

    def call(**options):
        workflow = {
            "1": {"class_type": "LoadImage", "inputs": {"image": str(tmp_path / "me.png")}},
            "2": {"class_type": "Grey", "inputs": {"seed": 100, "size": "small"}},
            "3": {
                "class_type": "SaveImage",
                "inputs": {"images": ["2", 0], "filename_prefix": "a"},
            },
            "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        Image.new("RGB", (4, 4)).save(tmp_path / "me.png")
        slow = "late" in fake.faults["POST /prompt"]  # a busy machine is late by more than asked
        options = {"pace": replace(PACE, settle=1.0) if slow else PACE, **options}
        return run_on_server(fake.url, workflow, None, tmp_path / "out", **options)

    return call


def assert_ran_once(fake, result):
    assert len(fake.queued) == len(fake.ran) == 1
    assert not fake.pending
    assert [path.name for path in result.images] == ["a_00001_.png"]
    assert [path.name for path in result.previews] == ["preview_00001_.png"]
    assert Image.open(result.images[0]).getpixel((0, 0)) == (100, 100, 100)
    folder = result.images[0].parent
    assert sorted(p.name for p in folder.rglob("*.*")) == ["a_00001_.png", "preview_00001_.png"]


LOSSES = ["before", "after", "cut", "late", "502", "502 after"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_job_is_queued_once_whatever_happens_to_the_request(fake, run, loss):
    fake.faults["POST /prompt"] = [loss]
    assert_ran_once(fake, run())


@pytest.mark.parametrize("keeps_prompt_id", [True, False], ids=["our_id", "their_id"])
@pytest.mark.parametrize("second", LOSSES)
@pytest.mark.parametrize("first", ["before", "502"])
def test_again_and_again(fake, run, first, second, keeps_prompt_id):
    fake.keeps_prompt_id = keeps_prompt_id
    fake.faults["POST /prompt"] = [first, second]
    assert_ran_once(fake, run())


@pytest.mark.parametrize("loss", ["after", "late", "cut"])
def test_a_server_that_chooses_the_id_is_searched_for_our_token(fake, run, loss):
    fake.keeps_prompt_id = False
    fake.faults["POST /prompt"] = [loss]
    assert_ran_once(fake, run())


def test_a_request_that_arrives_after_all_waiting_does_not_run_twice(fake, run):
    fake.put({}, "somebody")
    fake.step_seconds, fake.late_by = 0.15, 0.4
    fake.faults["POST /prompt"] = ["late"]
    result = run(pace=PACE)
    assert fake.ran.count("somebody") == 1
    assert len(fake.ran) == 2
    assert not fake.pending
    assert [path.name for path in result.images] == ["a_00001_.png"]


@pytest.mark.parametrize("loss", ["before", "after", "cut", "502"])
@pytest.mark.parametrize(
    "request_line",
    ["GET /object_info", "POST /upload/image", "GET /queue", "GET /view"],
)
def test_everything_else_is_simply_asked_again(fake, run, request_line, loss):
    fake.faults[request_line] = [loss, loss]
    assert_ran_once(fake, run())
    assert fake.inputs.keys() == {"there.png", "me.png"}
    assert fake.requests.count(request_line) >= 3


@pytest.mark.parametrize("messages", range(0, 18, 3))
def test_a_websocket_that_breaks_is_opened_again(fake, run, messages):
    fake.messages_before_drop, fake.step_seconds = messages, 0.02
    assert_ran_once(fake, run())
    assert fake.messages_before_drop is None
    assert fake.requests.count("GET /ws") >= 2


def test_without_any_websocket_the_history_tells(fake, run):
    fake.faults["GET /ws"] = ["before"] * 1000
    assert_ran_once(fake, run())


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 40))]
)
def test_a_bad_line(fake, run, seed):
    """A third of all requests and answers are lost."""
    line = random.Random(seed)
    fake.chance = lambda request: "none" if line.random() < 0.67 else line.choice(LOSSES)
    fake.late_by, fake.keeps_prompt_id = 0.02, bool(seed % 2)
    assert_ran_once(fake, run())


def once_running(fake, do):
    def wait():
        while not fake.ran:
            time.sleep(0.01)
        do()

    threading.Thread(target=wait, daemon=True).start()


def test_a_server_that_is_away_for_a_while_is_waited_for(fake, run):
    fake.step_seconds = 0.05
    once_running(fake, lambda: fake.vanish(0.5))
    assert_ran_once(fake, run())


def test_a_server_that_stays_away_is_an_error(fake, run):
    fake.step_seconds = 0.2
    once_running(fake, lambda: fake.vanish(30))
    with pytest.raises(ServerError, match=r"has not answered GET /\S+ for 0.5 s"):
        run(pace=Pace(first=0.01, longest=0.05, patience=0.5, settle=0.2, silence=0.1))
    assert len(fake.queued) == 1


def test_a_job_that_the_server_forgot_is_not_queued_again(fake, run):
    fake.stalled.set()

    def forget():
        while not fake.pending:
            time.sleep(0.01)
        fake.pending.clear()

    threading.Thread(target=forget, daemon=True).start()
    with pytest.raises(ServerError, match="neither in its queue nor in its history"):
        run()
    assert len(fake.queued) == 1
