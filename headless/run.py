"""From a workflow and settings to pictures on disk, in one call."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import folders
from .engine import Engine
from .graph import with_values
from .params import apply_seed, apply_settings
from .progress import Progress
from .registry import Registry, registry
from .validate import check
from .workflow import Problem, Prompt, Workflow, WorkflowError, load_workflow


@dataclass(frozen=True)
class RunResult:
    """images, previews: files written, in the order of the nodes. outputs: what every node gave,
    by node id. timings: seconds by node id; seconds: the whole run."""

    images: list[Path]
    previews: list[Path]
    outputs: dict[str, tuple]
    timings: dict[str, float]
    seconds: float


@cache
def shared_engine() -> Engine:
    """The engine of this process: models loaded by one run serve the next."""
    return Engine(registry())


def prepare(
    workflow: str | Path | dict,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    nodes: Registry | None = None,
    problems: list[Problem] | None = None,
    judge: Callable[[Prompt, Registry], tuple[Prompt, list[Problem]]] = check,
) -> tuple[Workflow, Prompt]:
    """The loaded workflow, and its nodes with settings applied, checked and ready to run.

    problems: what the caller found already; judge finds more. Raises WorkflowError with all.
    """
    nodes = registry() if nodes is None else nodes
    loaded = load_workflow(workflow)
    prompt, found = loaded.prompt, list(problems or [])
    if seed is not None:
        prompt, more = apply_seed(prompt, seed, nodes)
        found += more
    prompt, more = apply_settings(prompt, settings or {}, nodes)
    found += more
    prompt, more = judge(prompt, nodes)
    if found or more:
        raise WorkflowError(found + more)
    return loaded, prompt


def run_workflow(
    workflow: str | Path | dict,
    settings: Mapping[str, Any] | None = None,
    output_dir: str | Path = "out",
    *,
    seed: int | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    problems: list[Problem] | None = None,
) -> RunResult:
    """Run a workflow and write its pictures to output_dir.

    workflow: a file (API-format JSON, or a PNG that carries one) or the nodes as a dict.
    settings: {"NODE.input": value}, see `params.apply_settings`; seed: for every node with one.
    Raises WorkflowError before anything runs, NodeError when a node fails; pictures written
    before an error or interrupt stay.
    """
    start = time.perf_counter()
    engine = engine or shared_engine()
    loaded, prompt = prepare(workflow, settings, seed, engine.registry, problems)
    graph = loaded.graph and with_values(loaded.graph, prompt, engine.registry)
    with folders.writing_to(output_dir):
        run = engine.run(prompt, progress, {"workflow": graph} if graph else None)
        files = [
            (entry["type"], Path(folders.get_annotated_filepath(f"{name} [{entry['type']}]")))
            for entries in run.images.values()
            for entry in entries
            for name in [str(Path(entry["subfolder"]) / entry["filename"])]
        ]
    return RunResult(
        images=[path for kind, path in files if kind == "output"],
        previews=[path for kind, path in files if kind == "temp"],
        outputs=run.outputs,
        timings=run.timings,
        seconds=time.perf_counter() - start,
    )
