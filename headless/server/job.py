"""One job in the server's queue: put there exactly once, found again, and taken out again.

ComfyUI does not notice that it gets a job twice. So the job carries a token that we choose, as its
prompt_id and as its client_id; a request that may have arrived is not repeated before the queue
and the history have been searched for the token for a while.
"""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from ..workflow import Prompt, WorkflowError
from . import ServerError
from .connection import Connection, NoAnswerError
from .problems import refused

RECENT = 100


@dataclass(frozen=True)
class Sighting:
    """Where the server has the job: ids of what runs and waits of it (two only when a request
    arrived late), how many others are before it, and its history entry when it is over."""

    running: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    ahead: int = 0
    entry: dict[str, Any] | None = None

    @property
    def nowhere(self) -> bool:
        return not self.running and not self.pending and self.entry is None


@dataclass
class Job:
    """A workflow on its way through a server's queue."""

    server: Connection
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.id = self.token
        self._posted = self._answered = self._doubtful = False

    def submit(self, prompt: Prompt, graph: dict | None = None) -> None:
        """Queue the workflow, once, however often the connection drops.

        graph: goes into saved pictures. Raises WorkflowError with all that the server finds wrong
        (then nothing is queued), ServerError when it does not answer.
        """
        body: dict[str, Any] = {
            "prompt": prompt,
            "prompt_id": self.token,
            "client_id": self.token,
            "extra_data": {"extra_pnginfo": {"workflow": graph}} if graph else {},
        }
        for attempt in self.server.tries("POST /prompt"):
            with attempt:
                if not (self._doubtful and self._arrived()):
                    self._post(prompt, body)
                return

    def _post(self, prompt: Prompt, body: dict) -> None:
        self._posted = True
        try:
            response = self.server.once("POST", "/prompt", json=body)
        except NoAnswerError as error:
            self._doubtful = self._doubtful or error.sent
            raise
        try:
            answer = response.json()
        except ValueError:
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        if response.is_success and "prompt_id" in answer:
            self.id, self._answered = str(answer["prompt_id"]), True
            if answer.get("node_errors"):  # it queued the part of the workflow that is not wrong
                self.remove()
                raise WorkflowError(refused(prompt, answer))
        elif response.status_code == 400 and ("error" in answer or "node_errors" in answer):
            raise WorkflowError(refused(prompt, answer))
        else:
            self._doubtful = True
            if not self._arrived():
                raise self.server.refusal("POST", "/prompt", response)

    def _arrived(self) -> bool:
        """Whether the server has the job; absent means absent for `pace.settle` seconds."""
        end = time.monotonic() + self.server.pace.settle
        while self.look().nowhere:
            if time.monotonic() >= end:
                return False
            time.sleep(self.server.pace.settle / 8)
        return True

    def look(self) -> Sighting:
        """Search queue and history, in this order: a job only moves from the first to the second.

        Servers that choose their own prompt_id keep our client_id; then `id` becomes theirs.
        """
        queue = self.server.json("/queue")
        waiting = sorted(queue["queue_pending"], key=lambda item: item[0])
        running = tuple(str(item[1]) for item in queue["queue_running"] if self._ours(item))
        pending = tuple(str(item[1]) for item in waiting if self._ours(item))
        ahead = 0
        if pending and not running:
            first = next(place for place, item in enumerate(waiting) if self._ours(item))
            ahead = first + len(queue["queue_running"])
        self.id = (*running, *pending, self.id)[0]
        entry = None
        if self._doubtful or not (running or pending):
            entry = self.server.json(f"/history/{self.id}").get(self.id) or self._past()
        return Sighting(running, pending, ahead, entry)

    def _past(self) -> dict[str, Any] | None:
        """The job's history entry under an id that the server chose."""
        if self._answered or not self._doubtful:
            return None
        recent = self.server.json("/history", max_items=RECENT)
        ours = [key for key, past in recent.items() if self._ours(past.get("prompt"))]
        self.id = ours[-1] if ours else self.id
        return recent.get(self.id)

    def _ours(self, item: Any) -> bool:
        """item: [number, prompt_id, prompt, extra_data, ...]."""
        if not isinstance(item, list | tuple) or len(item) < 4:
            return False
        extra = item[3] if isinstance(item[3], dict) else {}
        return item[1] == self.id or extra.get("client_id") == self.token

    def drop_copies(self, seen: Sighting) -> None:
        """Take out a second copy, of a request that arrived later than anybody should wait for."""
        copies = seen.pending[0 if seen.running or seen.entry else 1 :]
        if copies and self._doubtful:
            self.server.ask("POST", "/queue", json={"delete": list(copies)})

    def remove(self, seconds: float = 20.0) -> bool:
        """Take the job out of the queue, or interrupt it if it runs; nobody else's.

        True when it is gone; False when it did not stop in time (it stops after its step).
        """
        start = time.monotonic()
        settled = start + (self.server.pace.settle if self._doubtful or not self._answered else 0)
        asked = 0.0
        while self._posted and time.monotonic() < start + seconds:
            seen = self.look()
            if seen.pending:
                self.server.ask("POST", "/queue", json={"delete": list(seen.pending)})
            elif seen.running and time.monotonic() > asked + 1:
                self.server.ask("POST", "/interrupt", json={"prompt_id": self.id})
                asked = time.monotonic()
            elif not seen.running and time.monotonic() >= settled:
                return True
            time.sleep(0.1)
        return not self._posted

    def lost(self) -> ServerError:
        return ServerError(
            f"{self.server.name} has the job {self.id} neither in its queue nor in its history: it "
            "was restarted, or somebody took the job out. Nothing is queued again by itself; run "
            "the command again."
        )
