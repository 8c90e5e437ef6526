"""What the command line shows of a run: one line per finished node, bars while they work."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from .progress import NodeRef, Progress


class ConsoleProgress(Progress):
    """A bar over the nodes and a bar over the running node's steps; use it in a `with`.

    On anything but a terminal only the lines of finished nodes are printed.
    """

    def __init__(self, console: Console):
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._console = console
        self._nodes = self._bars.add_task("nodes", total=None)
        self._steps = self._bars.add_task("steps", visible=False)

    def __enter__(self) -> "ConsoleProgress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def waiting(self, ahead: int) -> None:
        if ahead:
            others = f"{ahead} other job{'s' if ahead > 1 else ''}"
            self._console.print(f"waiting for {others}", markup=False, highlight=False)

    def node_started(self, node: NodeRef, index: int, total: int) -> None:
        self._bars.update(self._nodes, description=node.title, completed=index, total=total)
        self._bars.reset(self._steps, visible=False)

    def stepped(self, node: NodeRef, value: float, total: float) -> None:
        self._bars.update(
            self._steps, description="  steps", completed=value, total=total, visible=True
        )

    def node_finished(self, node: NodeRef, seconds: float, cached: bool) -> None:
        self._bars.update(self._nodes, advance=1)
        took = "as before" if cached else f"{seconds:6.2f} s"
        self._console.print(f"{took:>9}  {node.title}", markup=False, highlight=False)
