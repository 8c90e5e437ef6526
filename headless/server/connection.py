"""HTTP with a ComfyUI server: repeats what may be repeated, and says what is at the other end."""

import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from ..workflow import WorkflowError, problem
from . import ServerError

BUSY = (429, 502, 503, 504)
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)


@dataclass(frozen=True)
class Pace:
    """Seconds: the first and longest pause between tries; how long a silent server is waited for;
    how long a request that was not answered may still arrive; the longest silence before the
    server is asked for the job's state."""

    first: float = 0.25
    longest: float = 5.0
    patience: float = 120.0
    settle: float = 3.0
    silence: float = 8.0


class NoAnswerError(Exception):
    """A request without an answer; `sent` is False when it surely did not reach the server."""

    def __init__(self, why: str, sent: bool):
        self.sent = sent
        super().__init__(why)


class Connection:
    """A ComfyUI server. Use it in a `with`.

    address: `http://host:8188`, also with a path, or with `user:password@` before the host; the
    scheme may be left out. Raises WorkflowError when nothing like ComfyUI answers there.
    """

    def __init__(self, address: str, pace: Pace | None = None):
        self.pace = pace or Pace()
        self.url = _url(address)
        self.name = str(self.url.copy_with(username=None, password=None)).rstrip("/")
        self._http = httpx2.Client(base_url=self.url, timeout=TIMEOUT)
        try:
            self._meet()
        except BaseException:
            self._http.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *unused: Any) -> None:
        self._http.close()

    def websocket(self, client: str) -> tuple[str, dict[str, str]]:
        """Address and headers of the channel on which the server tells this client things."""
        scheme = "wss" if self.url.scheme == "https" else "ws"
        login = f"{self.url.username}:{self.url.password}".encode()
        headers = {"Authorization": f"Basic {b64encode(login).decode()}"} if login != b":" else {}
        return f"{scheme}{self.name.removeprefix(self.url.scheme)}/ws?clientId={client}", headers

    def once(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One try. Raises NoAnswerError when there is no answer, or one from a proxy in between."""
        try:
            response = self._http.request(method, path, **options)
        except NOT_SENT as error:
            raise NoAnswerError(_said(error), sent=False) from error
        except httpx2.TransportError as error:
            raise NoAnswerError(_said(error), sent=True) from error
        if response.status_code in BUSY:
            raise NoAnswerError(f"HTTP {response.status_code}", sent=True)
        return response

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The answer to a request that may be repeated. Raises ServerError for a refusal."""
        for tries in self.tries(f"{method} {path}"):
            with tries:
                response = self.once(method, path, **options)
                if response.is_error:
                    raise self.refusal(method, path, response)
                return response
        raise AssertionError("tries() ends with an error")

    def json(self, path: str, **parameters: Any) -> Any:
        response = self.ask("GET", path, params=parameters)
        try:
            return response.json()
        except ValueError as error:
            raise self.refusal("GET", path, response) from error

    def stream(self, path: str, **parameters: Any) -> Iterator[bytes]:
        """A file's bytes, once. Raises NoAnswerError when they break off."""
        try:
            with self._http.stream("GET", path, params=parameters) as response:
                if response.status_code in BUSY:
                    raise NoAnswerError(f"HTTP {response.status_code}", sent=True)
                if response.status_code == 404:
                    raise ServerError(
                        f"{self.name} has lost {parameters.get('filename')}: an earlier run saved "
                        "it and somebody removed it since. Change a seed or restart ComfyUI, so "
                        "that the node runs again."
                    )
                if response.is_error:
                    response.read()
                    raise self.refusal("GET", f"{path} {parameters}", response)
                yield from response.iter_bytes()
        except httpx2.TransportError as error:
            raise NoAnswerError(_said(error), sent=True) from error

    def refusal(self, method: str, path: str, response: httpx2.Response) -> ServerError:
        return ServerError(
            f"{self.name} answered {method} {path} with HTTP {response.status_code}: "
            f"{response.text[:300].strip() or 'no text'}"
        )

    def tries(self, what: str) -> Iterator["Try"]:
        """Tries with growing pauses; each `with` around one swallows NoAnswerError.

        Raises ServerError when the server has not answered for `pace.patience` seconds.
        """
        start, pause = time.monotonic(), self.pace.first
        while True:
            attempt = Try()
            yield attempt
            if time.monotonic() - start + pause > self.pace.patience:
                raise ServerError(
                    f"{self.name} has not answered {what} for {self.pace.patience:g} s "
                    f"({attempt.error}). Look whether it runs, and try again."
                ) from attempt.error
            time.sleep(pause)
            pause = min(2 * pause, self.pace.longest)

    def _meet(self) -> None:
        """Make sure that a ComfyUI answers; where nobody listens, that is told at once."""
        todo = "Start ComfyUI there, or correct the address."
        start = time.monotonic()
        while True:
            try:
                response = self.once("GET", "/system_stats", timeout=10.0)
                break
            except NoAnswerError as error:
                if not error.sent or time.monotonic() - start > self.pace.settle:
                    raise self._stranger(f"no answer ({error})", todo) from error
                time.sleep(self.pace.first)
        if response.status_code in (401, 403):
            todo = "Give a login in the address: http://user:password@host."
            raise self._stranger(f"HTTP {response.status_code}, a demand for a login", todo)
        try:
            known = "system" in response.json() and "devices" in response.json()
        except (ValueError, TypeError):
            known = False
        if response.is_error or not known:
            kind = response.headers.get("content-type", "nothing")
            raise self._stranger(f"HTTP {response.status_code} with {kind}", todo)

    def _stranger(self, came: str, todo: str) -> WorkflowError:
        return WorkflowError(
            [problem(f"--server {self.name}", "a ComfyUI server", f"{came} to /system_stats", todo)]
        )


class Try:
    """One attempt of `Connection.tries`."""

    error: NoAnswerError | None = None

    def __enter__(self) -> "Try":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, NoAnswerError):
            self.error = error
        return isinstance(error, NoAnswerError)


def _url(address: str) -> httpx2.URL:
    try:
        url = httpx2.URL(address if "://" in address else f"http://{address}")
    except httpx2.InvalidURL as error:
        url, reason = httpx2.URL(""), f" ({error})"
    else:
        reason = ""
    if url.scheme not in ("http", "https") or not url.host:
        came = f"{address!r}{reason}"
        example = "Write it like --server http://127.0.0.1:8188."
        raise WorkflowError([problem("--server", "an http or https address", came, example)])
    return url.copy_with(query=None, fragment=None)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
