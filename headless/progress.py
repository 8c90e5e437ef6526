"""Progress on its way from a node to whoever watches: listener, progress bar, current node."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NodeRef:
    """Which node of a workflow is meant; prints as `node 4 "Load reference" (LoadImage)`."""

    id: str
    title: str
    class_type: str

    def __str__(self) -> str:
        kind = "" if self.class_type == self.title else f" ({self.class_type})"
        return f'node {self.id} "{self.title}"{kind}'


class Progress:
    """Hears what the engine does; override what you want to know."""

    def waiting(self, ahead: int) -> None:
        """The workflow waits on a server for `ahead` others; 0: for none any more."""

    def node_started(self, node: NodeRef, index: int, total: int) -> None:
        """Node number `index` (from 0) of `total` begins."""

    def stepped(self, node: NodeRef, value: float, total: float) -> None:
        """The running node has done `value` of `total` steps."""

    def node_finished(self, node: NodeRef, seconds: float, cached: bool) -> None:
        """The node is done; `cached` when its outputs of an earlier run were taken."""


_current: ContextVar[tuple[Progress, NodeRef] | None] = ContextVar("current_node", default=None)


@contextmanager
def reporting(progress: Progress, node: NodeRef) -> Iterator[None]:
    """While open, what `report` hears belongs to this node."""
    token = _current.set((progress, node))
    try:
        yield
    finally:
        _current.reset(token)


def report(value: float, total: float) -> None:
    """Tell the listener of the running node; without one, nothing happens."""
    current = _current.get()
    if current:
        progress, node = current
        progress.stepped(node, value, total)


class ProgressBar:
    """Stand-in for `comfy.utils.ProgressBar`."""

    def __init__(self, total: float, node_id: str | None = None):
        self.total = total
        self.current = 0.0

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None):
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        report(self.current, self.total)

    def update(self, value: float) -> None:
        self.update_absolute(self.current + value)
