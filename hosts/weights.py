"""A person model's file: `unet.*`, `unet_encoder.*` and `vae.*` in diffusers names (the published
Leffa layout) and, in the metadata, the configurations that no shape can tell.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

ROOMS = ("unet", "unet_encoder", "vae")


@dataclass(frozen=True)
class PersonWeights:
    """config: as written by the trainer, see `lab/training/models.py`. tensors: per room."""

    config: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def read(path: Path) -> PersonWeights:
    """Opens a person model. Raises ValueError naming the file, what was expected and what came."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Put the model into models/mannequin.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): expected a safetensors file. Copy it again.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {room: {} for room in ROOMS}
            for key in file.keys():  # noqa: SIM118
                room, _, name = key.partition(".")
                if room in tensors:
                    tensors[room][name] = file.get_tensor(key).float()
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it is truncated or of another "
            "format. Copy or convert it again."
        ) from error
    missing = [room for room in ROOMS if not tensors[room]]
    if missing or "mannequin" not in metadata:
        raise ValueError(
            f"{path} is not a Mannequin person model: expected tensors under {', '.join(ROOMS)} "
            f"and a 'mannequin' entry in the metadata; "
            f"missing {', '.join(missing) or 'the metadata'}. Choose a file from the list of "
            "Load Person Model."
        )
    return PersonWeights(json.loads(metadata["mannequin"]), tensors)
