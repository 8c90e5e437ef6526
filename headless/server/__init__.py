"""Runs workflows on a ComfyUI server through its API: `mannequin run X.json --server URL`.

The same call, results, progress and errors as the embedded engine's; the libraries that talk to
the server are imported only by `run`.
"""


class ServerError(RuntimeError):
    """The server cannot be reached any more, or refuses what every ComfyUI does."""


class RemoteError(ServerError):
    """What a node raised on the server; `traceback` is the server's."""

    def __init__(self, message: str, kind: str, traceback: str):
        self.kind, self.traceback = kind, traceback
        super().__init__(message or kind)
