"""The command line: `mannequin run workflow.json`, and what made the weights and the numbers.

Exit codes: 0 done; 1 something failed while running; 2 the workflow, a setting or the command is
wrong and nothing ran; 130 interrupted (files already written stay).
"""

import importlib
import inspect
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from .headless.exits import FAILED, WRONG, bad_input, exit_codes

ROOT = Path(__file__).resolve().parent
DEFAULT_COMFYUI = Path("~/comfy/ComfyUI")
DEMO = ("pose_transfer", "try_on")
EXTRAS = {
    "headless.server": "headless",
    "lab.people": "people",
    "lab.training": "people,train",
    "lab.benchmarks": "people,dev",
}

app = typer.Typer(
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
people = typer.Typer(help="Synthetic people with ground truth.", no_args_is_help=True)
app.add_typer(people, name="people")

OutFolder = Annotated[
    Path, typer.Option("--out", "-o", file_okay=False, help="Folder for the pictures.")
]
WorkflowFile = Annotated[
    Path, typer.Argument(help="API-format workflow JSON, or a PNG that carries its workflow.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NODE.INPUT=VALUE",
        help="Change an input; NODE is a title, id or class. May be repeated.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of every node that has one.")]
Server = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A ComfyUI server to use instead of the embedded engine."),
]
FirstSeed = Annotated[int, typer.Option(min=0, help="Seed of the people.")]


@app.command()
def run(
    workflow: WorkflowFile,
    settings: Settings = None,
    out: OutFolder = Path("out"),
    seed: Seed = None,
    server: Server = None,
) -> None:
    """Run a workflow and print the paths of the pictures it saved."""
    with exit_codes():
        result = _run(workflow, settings or [], out, seed, server)
    for path in result.images + result.previews:
        typer.echo(path)


@app.command()
def validate(
    workflow: WorkflowFile, settings: Settings = None, seed: Seed = None, server: Server = None
) -> None:
    """Say everything that is wrong with a workflow; run nothing."""
    with exit_codes():
        from .headless.params import parse_settings
        from .headless.run import prepare

        parsed, problems = parse_settings(settings or [])
        if server:
            check = _room("headless.server.run").validate_on_server
            prompt = check(server, workflow, parsed, seed, problems)
        else:
            _, prompt = prepare(workflow, parsed, seed, problems=problems)
    typer.echo(f"{workflow}: {len(prompt)} nodes, nothing wrong")


@app.command()
def nodes() -> None:
    """List the nodes that workflows can use, with all inputs."""
    with exit_codes():
        from .headless.registry import registry
        from .headless.validate import describe

        for node_id, node_class in sorted(registry().items()):
            schema = node_class.GET_SCHEMA()
            gives = ", ".join(output.io_type for output in schema.outputs) or "nothing"
            typer.echo(f"{node_id} ({schema.display_name or node_id}) gives {gives}")
            for spec in schema.inputs:
                optional = " (optional)" if spec.optional else ""
                typer.echo(f"    {spec.id}: {describe(spec)}{optional}")


@app.command()
def demo(out: OutFolder = Path("out/demo")) -> None:
    """Run the examples and measure them against ground truth."""
    with exit_codes():
        results = {}
        for name in DEMO:
            typer.echo(f"{name}:", err=True)
            results[name] = _run(ROOT / "workflows" / "api" / f"{name}.json", [], out, None)
        measured = _room("lab.benchmarks.demo").report(results)
    typer.echo(measured)
    for name, result in results.items():
        typer.echo(f"\n{name}: {result.seconds:.1f} s")
        for path in result.images:
            typer.echo(path)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A published Leffa checkpoint, .pth.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: X.safetensors.")
    ] = None,
    half: Annotated[bool, typer.Option(help="Store float16: half the size.")] = False,
) -> None:
    """Turn a published checkpoint into a safetensors file."""
    from rich.console import Console
    from rich.progress import Progress

    with exit_codes(), bad_input(ValueError, OSError):
        from .headless.convert import convert as written

        with Progress(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("reading")
            path, config = written(
                checkpoint, out, half, lambda n, total: bars.update(task, completed=n, total=total)
            )
    typer.echo(f"{path} ({config['family']}, {config['unet']['in_channels']} input channels)")


@app.command()
def verify(
    fixture: Annotated[Path, typer.Argument(help="Golden outputs of the published code.")],
    comfyui: Annotated[
        Path, typer.Option(envvar="COMFYUI_DIR", help="ComfyUI's folder.")
    ] = DEFAULT_COMFYUI,
) -> None:
    """Compare every host with golden outputs; print JSON.

    Golden outputs are those of the published Leffa code. Per host: forward_max_abs of one
    denoiser call, sample_rel of a whole sampling run. Exit code 1 when either is above 1e-5 on any
    host.
    """
    import json

    with exit_codes(), bad_input(ValueError):
        from .headless.verify import verify as run_golden

        found, close = run_golden(fixture, comfyui.expanduser())
    typer.echo(json.dumps(found, indent=2))
    if not close:
        raise typer.Exit(FAILED)


@people.command()
def render(
    out: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write.")],
    count: Annotated[int, typer.Option(min=1, help="How many sets of four pictures.")] = 8,
    seed: FirstSeed = 0,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
) -> None:
    """Render synthetic people into a folder, with a contact sheet."""
    if split not in ("train", "heldout"):
        raise typer.BadParameter(f"expected train or heldout, came {split!r}", param_hint="--split")
    with exit_codes():
        _room("lab.people").render_folder(out, count, seed, split)
    typer.echo(out)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark, for example pose-transfer.")],
    out: Annotated[Path, typer.Option(help="JSON file for the figures.", dir_okay=False)],
    seed: FirstSeed = 0,
    pairs: Annotated[int | None, typer.Option(min=1, help="How many picture pairs.")] = None,
) -> None:
    """Measure: a JSON file of figures, with a table and a sheet."""
    if out.suffix != ".json":
        raise typer.BadParameter(
            f"expected a file name ending in .json, came {str(out)!r}. The table and the sheet "
            "take its name with other endings.",
            param_hint="--out",
        )
    with exit_codes():
        measure = _part("lab.benchmarks", name, "run")
        options = {} if pairs is None else {"pairs": pairs}
        if pairs is not None and "pairs" not in inspect.signature(measure).parameters:
            typer.echo(
                f"expected no --pairs: {name} does not measure pairs. Leave it out.", err=True
            )
            raise typer.Exit(WRONG)
        with bad_input(FileNotFoundError):
            measure(seed=seed, out=out, **options)
    typer.echo(out)


@app.command()
def kernels(
    self_test: Annotated[bool, typer.Option(help="Check and time every backend here.")] = False,
) -> None:
    """Show which attention backend runs on this machine, and why."""
    with exit_codes():
        typer.echo(_room("lab.benchmarks.device" if self_test else "hosts.attention").report())


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which recipe, for example tiny.")],
) -> None:
    """Train weights; further arguments go to the recipe.

    `mannequin train NAME -- --help` lists them.
    """
    with exit_codes():
        _part("lab.training", name, "main")(context.args)


def _run(
    workflow: Path, settings: list[str], out: Path, seed: int | None, server: str | None = None
) -> Any:
    """One run with its progress on standard error; on a server where one is given."""
    from rich.console import Console

    from .headless import run_workflow
    from .headless.console import ConsoleProgress
    from .headless.params import parse_settings

    parsed, problems = parse_settings(settings)
    call = partial(_room("headless.server.run").run_on_server, server) if server else run_workflow
    with ConsoleProgress(Console(stderr=True)) as progress:
        return call(workflow, parsed, out, seed=seed, progress=progress, problems=problems)


def _part(room: str, name: str, function: str) -> Any:
    """The function of a room's module that a command names; exits with what there is if none."""
    folder = ROOT / room.replace(".", "/")
    there = sorted(
        file.stem.replace("_", "-")
        for file in folder.glob("*.py")
        if f"\ndef {function}(" in file.read_text(encoding="utf-8")
    )
    if name.replace("_", "-") not in there:
        typer.echo(f"expected one of: {', '.join(there) or 'none'}; came {name!r}.", err=True)
        raise typer.Exit(WRONG)
    return getattr(_room(f"{room}.{name.replace('-', '_')}"), function)


def _room(name: str) -> ModuleType:
    """A module of ours; a missing library becomes the command that installs it."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] == __package__:
            raise
        extras = next(extra for room, extra in EXTRAS.items() if name.startswith(room))
        typer.echo(
            f"mannequin.{name} needs {error.name}, which is not installed. "
            f'Run: pip install --editable ".[{extras}]"',
            err=True,
        )
        raise typer.Exit(FAILED) from error


def main() -> None:
    """Entry point of the console script `mannequin`."""
    app()


if __name__ == "__main__":
    main()
