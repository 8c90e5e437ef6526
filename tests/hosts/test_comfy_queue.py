"""A real ComfyUI server's queue: cached runs, interrupting, unloading, and nothing that leaks."""

import re
import time

import numpy as np
import pytest

BEFORE_SAMPLING = {
    "model", "source", "source_pose", "target_pose", "reference", "conditioning", "attention",
}  # fmt: skip


@pytest.fixture
def workflow(every_node):
    """The pictures' workflow with another seed and number of steps."""

    def build(seed: int = 5, steps: int = 4) -> dict:
        prompt = every_node()
        prompt["sampler"]["inputs"].update(seed=seed, steps=steps)
        return prompt

    return build


def assert_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a
    assert a.keys() == b.keys()
    for name, picture in a.items():
        assert np.array_equal(picture, b[name]), name


def events(entry: dict) -> dict[str, dict]:
    return dict(entry["status"]["messages"])


def test_the_same_workflow_again_is_cached_whole(server, workflow):
    server.run(workflow())
    again = server.run(workflow())
    assert set(events(again)["execution_cached"]["nodes"]) == set(workflow())
    assert again["status"]["status_str"] == "success"


def test_another_seed_runs_only_the_sampler_and_leaves_nothing_behind(server, workflow):
    first = server.paint(workflow())
    history = server.run(workflow(seed=6))
    cached = set(events(history)["execution_cached"]["nodes"])
    assert cached == BEFORE_SAMPLING
    other = server.paint(workflow(seed=7))
    for name, picture in first.items():
        assert not np.array_equal(other[name], picture), name
    assert_equal(server.paint(workflow()), first)


def test_an_interrupted_run_leaves_nothing_behind(server, workflow):
    before = server.paint(workflow(seed=11))
    running = server.queue(workflow(seed=12, steps=900))
    deadline = time.monotonic() + 60
    while not re.search(r"\b([5-9]|\d\d+)/900\b", server.log):
        assert time.monotonic() < deadline, "the sampler did not begin"
        time.sleep(0.2)
    server.post("/interrupt")
    history = server.wait(running, 30)
    assert events(history)["execution_interrupted"]["node_type"] == "KSampler"
    assert not history["outputs"]
    assert_equal(server.paint(workflow(seed=11)), before)


def test_after_freeing_memory_everything_runs_again(server, workflow):
    before = server.paint(workflow())
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(2)  # the worker frees when it next wakes up
    history = server.run(workflow())
    assert not events(history)["execution_cached"]["nodes"]
    assert_equal(server.paint(workflow()), before)
