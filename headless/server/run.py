"""From a workflow and settings to pictures on disk, by way of a ComfyUI server."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..engine import execution_order
from ..graph import with_values
from ..progress import Progress
from ..registry import Registry
from ..run import RunResult, prepare
from ..validate import check, check_wires
from ..workflow import Problem, Prompt
from . import ServerError
from .catalog import catalog
from .connection import Connection, Pace
from .files import download, upload
from .job import Job
from .problems import failure
from .watch import Events, Narrator, watch

GOODBYE = 10.0  # seconds that a Ctrl-C waits for a server that does not answer


def run_on_server(
    address: str,
    workflow: str | Path | dict,
    settings: Mapping[str, Any] | None = None,
    output_dir: str | Path = "out",
    *,
    seed: int | None = None,
    progress: Progress | None = None,
    problems: list[Problem] | None = None,
    pace: Pace | None = None,
) -> RunResult:
    """`run_workflow` on the ComfyUI server at an address; the result's `outputs` stay there.

    Nodes are those that the server has; it checks the values itself. Raises WorkflowError before
    anything runs, NodeError when a node fails, ServerError when the server is lost, and
    KeyboardInterrupt after the job was taken out of the queue or interrupted. What the job saved
    before an error or interrupt is downloaded all the same.
    """
    start = time.perf_counter()
    with Connection(address, pace) as server:
        nodes = catalog(server.json("/object_info"))
        judge = partial(check_wires, strangers=strangers(server))
        loaded, prompt = prepare(workflow, settings, seed, nodes, problems, judge)
        prompt = upload(server, prompt, nodes)
        graph = loaded.graph and with_values(loaded.graph, prompt, nodes)
        outputs = [k for k, n in prompt.items() if _schema(nodes, n).is_output_node]
        narrator = Narrator(progress or Progress(), prompt, execution_order(prompt, outputs))
        job = Job(server)
        try:
            with Events(server, job.token) as events:
                job.submit(prompt, graph)
                entry = watch(job, events, narrator)
        except KeyboardInterrupt:
            _stop(job, prompt, nodes, output_dir)
            raise
        files = download(server, prompt, nodes, entry, output_dir)
        _raise_failure(prompt, entry)
    return RunResult(
        images=files["images"],
        previews=files["previews"],
        outputs={},
        timings=narrator.timings,
        seconds=time.perf_counter() - start,
    )


def validate_on_server(
    address: str,
    workflow: str | Path | dict,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    problems: list[Problem] | None = None,
) -> Prompt:
    """The workflow, checked against what the server says of its nodes; nothing is sent.

    Raises WorkflowError with all that is wrong. A node that judges its values itself may be
    milder than this when it runs.
    """
    with Connection(address) as server:
        nodes = catalog(server.json("/object_info"))
        judge = partial(check, strangers=strangers(server))
        return prepare(workflow, settings, seed, nodes, problems, judge)[1]


def strangers(server: Connection) -> tuple[str, str]:
    """What is expected of a node's class, and what to do about an unknown one."""
    return f"a node that {server.name} has", "Install the node's pack there."


def _schema(nodes: Registry, node: dict) -> Any:
    return nodes[node["class_type"]].GET_SCHEMA()


def _stop(job: Job, prompt: Prompt, nodes: Registry, output_dir: str | Path) -> None:
    """Take the job out; what it saved until then is downloaded.

    Raises KeyboardInterrupt with what to know when the server does not stop in time.
    """
    server = job.server
    server.pace = replace(server.pace, patience=min(server.pace.patience, GOODBYE))
    try:
        stopped = job.remove()
        entry = job.look().entry
        if entry:
            download(server, prompt, nodes, entry, output_dir)
    except ServerError as error:
        raise KeyboardInterrupt(
            f"Interrupted; {server.name} does not answer, the job {job.id} may go on there."
        ) from error
    if not stopped:
        raise KeyboardInterrupt(
            f"Interrupted; {server.name} stops the job {job.id} after the step it is in."
        )


def _raise_failure(prompt: Prompt, entry: dict[str, Any]) -> None:
    """Raise what the history entry tells of, if the job did not succeed."""
    status = entry.get("status") or {}
    for kind, data in reversed(status.get("messages") or []):
        if kind == "execution_error":
            raise failure(prompt, data)
        if kind == "execution_interrupted":
            raise KeyboardInterrupt(
                "Interrupted on the server by somebody else; what was saved until then is here."
            )
