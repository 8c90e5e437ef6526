"""Pictures to the server and back: inputs that lie here are uploaded, results are downloaded."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .. import folders
from ..engine import execution_order
from ..registry import Registry
from ..workflow import Prompt, WorkflowError, is_link, node_ref, problem
from . import ServerError
from .connection import Connection

ON_SERVER = re.compile(r".*\[(input|output|temp)\]")
NUMBERED = re.compile(r"(?P<stem>.+)_\d+_(?P<ending>\.\w+)")
KINDS = {"output": "images", "temp": "previews"}


def upload(server: Connection, prompt: Prompt, nodes: Registry) -> Prompt:
    """The workflow with every picture that lies here put on the server, under its name there.

    A picture is found as the embedded engine finds it (the inputs folder, then the working
    directory, or a path); one that is not here is left to the server's own input folder, as is
    `name.png [output]`. The server keeps a file that is there already and renames another of the
    same name, so nothing is overwritten and sending twice does no harm.
    """
    sent: dict[Path, str] = {}
    changed = {key: {**node, "inputs": dict(node["inputs"])} for key, node in prompt.items()}
    for key, node in changed.items():
        for spec in nodes[node["class_type"]].GET_SCHEMA().inputs:
            value = node["inputs"].get(spec.id)
            if not getattr(spec, "upload", None) or not isinstance(value, str) or is_link(value):
                continue
            path = Path(folders.get_annotated_filepath(value))
            if ON_SERVER.fullmatch(value) or not path.is_file():
                continue
            if path not in sent:
                sent[path] = _send(server, path, f'{node_ref(prompt, key)}, input "{spec.id}"')
            node["inputs"][spec.id] = sent[path]
    return changed


def _send(server: Connection, path: Path, where: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        todo = "Check the file's permissions."
        raise WorkflowError([problem(where, "a readable file", str(error), todo)]) from error
    answer = server.ask("POST", "/upload/image", files={"image": (path.name, content)}).json()
    return str(PurePosixPath(answer.get("subfolder") or "") / answer["name"])


def download(
    server: Connection, prompt: Prompt, nodes: Registry, entry: dict, output_dir: str | Path
) -> dict[str, list[Path]]:
    """Write every file that the job saved into output_dir; previews go to its folder `previews`.

    entry: the job's history entry. Names are the embedded engine's: the server's name with our
    own next free number; nothing is overwritten, and no file is there before it is complete.
    Returns {"images": paths, "previews": paths} in the order of the nodes.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS.values()}
    with folders.writing_to(output_dir):
        for file in _files(prompt, nodes, entry):
            found[KINDS[file["type"]]].append(_fetch(server, file))
    return found


def _files(prompt: Prompt, nodes: Registry, entry: dict) -> Iterator[dict[str, str]]:
    """The entries {filename, subfolder, type} of all files, in the order of the nodes."""
    outputs, meta = entry.get("outputs") or {}, entry.get("meta") or {}
    schemas = {key: nodes[node["class_type"]].GET_SCHEMA() for key, node in prompt.items()}
    order = execution_order(prompt, [key for key, made in schemas.items() if made.is_output_node])

    def place(key: str) -> int:
        shown = (meta.get(key) or {}).get("display_node") or key
        return order.index(shown) if shown in order else len(order)

    for key in sorted(outputs, key=place):
        for shown in outputs[key].values():
            for file in shown if isinstance(shown, list) else []:
                if isinstance(file, dict) and file.get("filename") and file.get("type") in KINDS:
                    yield file


def _fetch(server: Connection, file: dict[str, str]) -> Path:
    """Download one file beside its place and move it there when it is complete."""
    wanted = {key: file.get(key) or "" for key in ("filename", "subfolder", "type")}
    for attempt in server.tries(f"GET /view {wanted['filename']}"):
        with attempt:
            path = _free_path(**wanted)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                with part.open("wb") as written:
                    for piece in server.stream("/view", **wanted):
                        written.write(piece)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            return path
    raise AssertionError("tries() ends with an error")


def _free_path(filename: str, subfolder: str, type: str) -> Path:
    """Where a file of the server goes: numbered as ours are, or by its own name if that is free."""
    preview = type == "temp"
    directory = folders.get_temp_directory() if preview else folders.get_output_directory()
    place = "" if preview else subfolder.replace("\\", "/")
    name = PurePosixPath(filename.replace("\\", "/")).name
    numbered = NUMBERED.fullmatch(name)
    stem = numbered["stem"] if numbered else Path(name).stem
    ending = numbered["ending"] if numbered else Path(name).suffix
    prefix = str(PurePosixPath(place) / ("preview" if preview else stem))
    try:
        folder, stem, counter, *_ = folders.get_save_image_path(prefix, directory)
    except ValueError as error:
        raise ServerError(f"{filename!r} in {subfolder!r} leaves the output folder") from error
    own = Path(folder) / name
    if not numbered and not preview and not own.exists():
        return own
    return Path(folder) / f"{stem}_{counter:05}_{ending}"
