"""Follows a queued job: the server's messages become progress, its history says when it is over."""

import json
import time
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from ..progress import NodeRef, Progress
from ..workflow import Prompt, node_ref
from .connection import Connection
from .job import Job

OVER = ("execution_success", "execution_error", "execution_interrupted")


def watch(job: Job, events: "Events", narrator: "Narrator") -> dict[str, Any]:
    """The job's history entry, once it is over.

    Messages are for showing only, and any of them may be missed; queue and history are asked
    when they are silent. Raises ServerError when the server lost the job or is gone.
    """
    pace = job.server.pace
    absent, pause = 0, pace.first
    asks = time.monotonic() + pause
    while True:
        message = events.next(max(0.0, asks - time.monotonic()))
        if message and narrator.hear(message, job.id):
            pause = pace.first if narrator.over else pace.silence
            asks = time.monotonic() + (0 if narrator.over else pause)
        if time.monotonic() < asks:
            continue
        seen = job.look()
        job.drop_copies(seen)
        if seen.entry:
            return seen.entry
        absent = absent + 1 if seen.nowhere else 0
        if absent == 3:
            raise job.lost()
        narrator.waits(seen.ahead)
        pause = min(2 * pause, pace.silence if events.connected else pace.longest / 2)
        asks = time.monotonic() + pause


class Events:
    """The server's messages to one client, over a websocket that is opened again when it drops."""

    def __init__(self, server: Connection, client: str):
        self._url, self._headers = server.websocket(client)
        self._pace = server.pace
        self._open = ExitStack()
        self._socket: Any = None
        self._pause, self._again = self._pace.first, 0.0

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def __enter__(self) -> "Events":
        self._connect()
        return self

    def __exit__(self, *unused: Any) -> None:
        self._open.close()

    def next(self, timeout: float) -> dict[str, Any] | None:
        """The next message, or None after timeout seconds or at a break of the connection."""
        if not self.connected:
            time.sleep(max(0.0, min(timeout, self._again - time.monotonic())))
            if time.monotonic() >= self._again:
                self._connect()
            return None
        try:
            data = self._socket.recv(timeout)
            message = json.loads(data) if isinstance(data, str) else None
        except (TimeoutError, ValueError):
            return None
        except (WebSocketException, OSError):
            self._drop()
            return None
        return message if isinstance(message, dict) else None

    def _connect(self) -> None:
        try:
            self._socket = self._open.enter_context(
                connect(
                    self._url,
                    additional_headers=self._headers,
                    compression=None,
                    max_size=None,
                    open_timeout=10,
                    close_timeout=1,
                )
            )
            self._pause = self._pace.first
        except (WebSocketException, OSError):
            self._drop()

    def _drop(self) -> None:
        self._socket = None
        self._open.close()
        self._open = ExitStack()
        self._again = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._pace.longest)


class Narrator:
    """Tells a Progress what the server's messages say of one workflow.

    order: ids of the nodes that will run. timings: seconds by node id, as seen from here.
    """

    def __init__(self, progress: Progress, prompt: Prompt, order: list[str]):
        self._progress, self._prompt, self._order = progress, prompt, order
        self._current: NodeRef | None = None
        self._since = 0.0
        self._told: set[str] = set()
        self._ahead = 0
        self.over = False
        self.timings: dict[str, float] = {}

    def hear(self, message: dict[str, Any], job_id: str) -> bool:
        """Whether the message was about this job."""
        kind, data = message.get("type"), message.get("data")
        if not isinstance(data, dict) or data.get("prompt_id", job_id) != job_id:
            return False
        if kind == "execution_cached":
            for key in self._order:
                if key in (data.get("nodes") or []) and key not in self._told:
                    self._start(key)
                    self._finish(cached=True)
        elif kind == "executing":
            self._finish()
            self._start(self._known(data))
        elif kind == "progress" and self._current and self._known(data) == self._current.id:
            self._progress.stepped(self._current, data.get("value", 0), data.get("max", 1))
        elif kind in OVER:
            if kind == "execution_success":
                self._finish()
            self._current, self.over = None, True
        return "prompt_id" in data

    def waits(self, ahead: int) -> None:
        if ahead != self._ahead:
            self._ahead = ahead
            self._progress.waiting(ahead)

    def _known(self, data: dict[str, Any]) -> str | None:
        """The node of the workflow that a message is about; nodes made while running count as
        the one that made them."""
        for key in (data.get("display_node"), data.get("node")):
            for known in (str(key), str(key).partition(".")[0]):
                if known in self._order:
                    return known
        return None

    def _start(self, key: str | None) -> None:
        if key is None or key in self._told:
            return
        self._current, self._since = node_ref(self._prompt, key), time.perf_counter()
        self._progress.node_started(self._current, len(self._told), len(self._order))

    def _finish(self, cached: bool = False) -> None:
        if self._current is None:
            return
        seconds = time.perf_counter() - self._since
        self._told.add(self._current.id)
        self.timings[self._current.id] = seconds
        self._progress.node_finished(self._current, seconds, cached)
        self._current = None
