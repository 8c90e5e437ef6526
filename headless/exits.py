"""Exit codes of the command line, and the messages that go with them."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

FAILED, WRONG, INTERRUPTED = 1, 2, 130
BAD_INPUT = ("ValueError", "OSError", "FileNotFoundError")


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what can happen into messages on standard error and the documented exit codes."""
    from .engine import NodeError
    from .server import RemoteError, ServerError
    from .workflow import WorkflowError

    try:
        yield
    except KeyboardInterrupt as stop:
        text = str(stop) or "Interrupted; what was written until now is complete."
        typer.echo(text, err=True)
        raise typer.Exit(INTERRUPTED) from None
    except WorkflowError as error:
        count = len(error.problems)
        typer.echo(f"{count} problem{'s' if count > 1 else ''}, nothing was run:", err=True)
        typer.echo("\n".join(f"- {problem}" for problem in error.problems), err=True)
        raise typer.Exit(WRONG) from error
    except ServerError as error:
        typer.echo(f"Failed: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except NodeError as error:
        cause = error.__cause__
        if isinstance(cause, RemoteError) and cause.kind not in BAD_INPUT:
            typer.echo(f"On the server:\n{cause.traceback}{cause.kind}: {cause}\n", err=True)
        elif not isinstance(cause, ValueError | OSError | RemoteError):
            raise  # not a bad input but a bug: the traceback is needed, the exit code is 1 too
        typer.echo(f"Failed: {error}", err=True)
        raise typer.Exit(FAILED) from error


@contextmanager
def bad_input(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds, which say what to do, into their message and the code for it."""
    try:
        yield
    except kinds as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG) from error
