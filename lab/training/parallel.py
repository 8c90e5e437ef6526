"""One training in several processes: each has a batch of its own, gradients are averaged."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process' number; 0 is the one that reports and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(parameters: Sequence[Tensor]) -> None:
    """Replaces gradients by their mean over all processes; where one has none it counts as zero.

    Nothing to do for a single process.
    """
    if not dist.is_initialized():
        return
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    gradients = [p.grad for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= processes()
    for g, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        g.copy_(mean.view_as(g))


def launch(processes: int, work: Callable[..., None], *arguments: object) -> None:
    """Calls work(*arguments), in `processes` processes that share the machine's threads.

    Raises ValueError for less than one process, and what went wrong in any of them.
    """
    if processes < 1:
        raise ValueError(f"expected at least one process, got {processes}.")
    if processes == 1:
        work(*arguments)
        return
    threads = max(1, torch.get_num_threads() // processes)
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        torch.multiprocessing.spawn(
            _join, (processes, threads, meeting, work, arguments), nprocs=processes
        )


def _join(
    number: int,
    processes: int,
    threads: int,
    meeting: str,
    work: Callable[..., None],
    arguments: Sequence[object],
) -> None:
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=processes)
    try:
        work(*arguments)
    finally:
        dist.destroy_process_group()
