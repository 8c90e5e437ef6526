"""Which backend runs a call, and why.

Every backend says what it can do, or why it cannot. The first that accepts a call runs it. One
that fails while running is left out from then on, with a warning, and the next one runs the call.
One whose backward fails is left out of calls that need gradients.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

log = logging.getLogger("mannequin")

OPERATIONS = (
    "reference_attention",
    "joint_attention",
    "mixture_attention",
    "flow_of_attention",
)


@dataclass(frozen=True)
class Request:
    """What a call asks for.

    extras: of "moments", "more than 16 moments", "strength", "strength per key", "temperature",
    "mask", "queries of their own", "gradient", "gradient of a table". widths: those of queries and
    values. queries, keys: their numbers, the keys' per source.
    """

    operation: str
    device: torch.device
    dtype: torch.dtype
    widths: tuple[int, int]
    queries: int
    keys: tuple[int, ...]
    extras: frozenset[str] = frozenset()


Operations = dict[str, Callable[..., Any]]
Pass = Literal["forward", "backward"]


@dataclass(frozen=True)
class Backend:
    """what: one line for people. refuses(request): the reason why not, or None. load(): the
    operations by name; called when first needed, so that what a backend imports stays optional.
    may_fail: errors lead to the next backend; otherwise they are the caller's.
    """

    name: str
    what: str
    refuses: Callable[[Request], str | None]
    load: Callable[[], Operations]
    may_fail: bool = False


@dataclass(frozen=True)
class Verdict:
    """One backend's answer to a request."""

    backend: str
    what: str
    runs: bool
    reason: str


@dataclass
class Registry:
    """The backends, best first. failed: by backend, operation and pass, how it failed."""

    backends: list[Backend] = field(default_factory=list)
    failed: dict[tuple[str, str, Pass], str] = field(default_factory=dict)
    _only: ContextVar[tuple[str, ...] | None] = field(
        default_factory=lambda: ContextVar("only", default=None)
    )

    def add(self, backend: Backend, first: bool = False) -> None:
        """Adds a backend, or puts it in the place of the one with its name."""
        names = self.names()
        if backend.name in names:
            self.backends[names.index(backend.name)] = backend
        else:
            self.backends.insert(0 if first else len(self.backends), backend)

    def names(self) -> list[str]:
        return [backend.name for backend in self.backends]

    @contextmanager
    def only(self, *names: str) -> Iterator[None]:
        """Within it, no other backends run (in this thread). ValueError if there is none such."""
        if unknown := set(names) - set(self.names()):
            raise ValueError(f"Expected backends of {self.names()}, got {sorted(unknown)}.")
        token = self._only.set(names)
        try:
            yield
        finally:
            self._only.reset(token)

    def _refusal(self, backend: Backend, request: Request) -> str | None:
        only = self._only.get()
        if only is not None and backend.name not in only:
            return f"left out: only {', '.join(only)} asked for"
        failure = self.failed.get((backend.name, request.operation, "forward"))
        if failure is None and "gradient" in request.extras:
            failure = self.failed.get((backend.name, request.operation, "backward"))
        return failure or backend.refuses(request)

    def verdicts(self, request: Request) -> list[Verdict]:
        """Every backend's answer; of those that accept, the first one runs."""
        out: list[Verdict] = []
        for backend in self.backends:
            reason = self._refusal(backend, request)
            taken = any(v.runs for v in out)
            if reason is None:
                reason = "would run, but one before it does" if taken else "runs"
                out.append(Verdict(backend.name, backend.what, not taken, reason))
            else:
                out.append(Verdict(backend.name, backend.what, False, reason))
        return out

    def run(self, request: Request, *args: Any) -> Any:
        """The operation by the first backend that accepts it.

        Raises RuntimeError with every backend's reason when none does.
        """
        reasons = []
        for backend in self.backends:
            reason = self._refusal(backend, request)
            if reason is not None:
                reasons.append(f"{backend.name}: {reason}")
                continue
            if not backend.may_fail:
                return backend.load()[request.operation](*args)
            try:
                return backend.load()[request.operation](*args)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:
                reasons.append(f"{backend.name}: {self.fail(backend.name, request, error)}")
        raise RuntimeError(
            f"No attention backend can run {request.operation} on {request.device} in "
            f"{request.dtype}. " + "; ".join(reasons) + "."
        )

    def fail(self, name: str, request: Request, error: Exception, way: Pass = "forward") -> str:
        """Remembers a failure, says so once, and returns how it reads in a report."""
        failed = "failed" if way == "forward" else "its backward failed"
        text = f"{failed}: {type(error).__name__}: {error}".strip()
        if (name, request.operation, way) not in self.failed:
            self.failed[name, request.operation, way] = text
            log.warning(
                "Attention backend %s cannot run %s here and is left out %sfrom now on; the next "
                "one takes over, with the same result. %s on %s, widths %s: %s",
                name,
                request.operation if way == "forward" else f"the gradients of {request.operation}",
                "" if way == "forward" else "where they are needed, ",
                request.dtype,
                request.device,
                request.widths,
                text,
            )
        return text


def unsupported(request: Request, extras: Sequence[str]) -> str | None:
    """The reason to refuse a request that asks for any of `extras`."""
    asked = [extra for extra in extras if extra in request.extras]
    return f"cannot do {' or '.join(asked)}" if asked else None
