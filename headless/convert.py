"""`mannequin convert`: a published Leffa checkpoint (.pth) as a safetensors file.

Tensors are mapped from the file and written one after the other, so that a checkpoint of 7 GB needs
no 7 GB of memory (with safetensors 0.8 or newer).
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..hosts import published
from ..hosts.weights import ROOMS

BLOCK = 1 << 24
HALF = {torch.float32: torch.float16, torch.float64: torch.float16}


def convert(
    source: Path,
    target: Path | None = None,
    half: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, dict[str, Any]]:
    """Writes `source` as safetensors; returns the file's path and its configuration.

    target: by default beside the source, with the ending changed. half: float32 becomes float16.
    progress(done, total) counts bytes while the source's checksum is made. Nothing in the source
    is executed (weights_only). The metadata tells the configuration and where the file comes from.
    Raises ValueError for what is not a published Leffa checkpoint, FileExistsError when the target
    is there.
    """
    target = source.with_suffix(".safetensors") if target is None else target
    if target.exists():
        raise FileExistsError(f"{target} is there already. Remove it, or name another with --out.")
    if not target.parent.is_dir():
        raise ValueError(f"{target.parent}: no such folder. Make it, or name another with --out.")
    rooms = _rooms(source)
    shapes = {room: {k: tuple(t.shape) for k, t in rooms[room].items()} for room in ROOMS}
    try:
        config = published.config_of(shapes)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{source} is not a published Leffa checkpoint: {error}.") from error
    provenance = {
        "source": source.name,
        "sha256": _sha256(source, progress),
        "bytes": source.stat().st_size,
        "licence": "as the source's: read it there",
        "changes": "file format" + (", float16" if half else ""),
    }
    tensors = {f"{room}.{k}": _stored(t, half) for room in ROOMS for k, t in rooms[room].items()}
    metadata = {
        "format": "pt",
        "mannequin": json.dumps(config),
        "provenance": json.dumps(provenance),
    }
    partial = target.with_name(f".{target.name}.part")
    try:
        save_file(tensors, partial, metadata)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target, config


def _rooms(source: Path) -> dict[str, dict[str, Tensor]]:
    """The checkpoint's tensors by room, mapped from the file."""
    if not source.is_file():
        raise ValueError(f"{source}: no such file. Name a published Leffa checkpoint (.pth).")
    if source.suffix == ".safetensors":
        raise ValueError(f"{source} is a safetensors file already: put it into models/mannequin.")
    try:
        state = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{source}: expected a PyTorch checkpoint of plain tensors; it cannot be read: {line} "
            "Download it again; a file that wants to run code is refused."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    rooms: dict[str, dict[str, Tensor]] = {room: {} for room in ROOMS}
    for key, tensor in state.items() if isinstance(state, Mapping) else ():
        room, _, name = str(key).partition(".")
        if room in rooms and isinstance(tensor, Tensor) and not name.startswith(published.UNUSED):
            rooms[room][name] = tensor
    missing = [room for room in ROOMS if not rooms[room]]
    if missing:
        found = sorted({str(key).partition(".")[0] for key in state})[:5] if len(state) else []
        raise ValueError(
            f"{source}: expected tensors under {', '.join(ROOMS)}, as the published Leffa "
            f"checkpoints hold; missing {', '.join(missing)}, found {', '.join(found) or 'none'}. "
            "Plain SD1.5 and SDXL checkpoints need no conversion: open them with Load Checkpoint."
        )
    return rooms


def _stored(tensor: Tensor, half: bool) -> Tensor:
    return (tensor.to(HALF.get(tensor.dtype, tensor.dtype)) if half else tensor).contiguous()


def _sha256(path: Path, progress: Callable[[int, int], None]) -> str:
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            progress(done, total)
    return digest.hexdigest()
