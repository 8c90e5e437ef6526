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
NEEDED = (*ROOMS, "latent_channels", "latent_scale", "downscale", "zero_terminal_snr")
UNDERSTOOD = {"prediction": "sample", "dense_pose": "iuv-features"}


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
    return PersonWeights(_config(path, metadata["mannequin"]), tensors)


def _config(path: Path, text: str) -> dict[str, Any]:
    """The configuration in the metadata, if it is one that the hosts understand."""
    again = "Train or convert it again with this version of Mannequin."
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: expected JSON in the metadata's 'mannequin' entry; got {text[:40]!r} "
            f"({error}). {again}"
        ) from error
    missing = [key for key in NEEDED if not isinstance(config, dict) or key not in config]
    if missing:
        raise ValueError(
            f"{path}: expected a configuration with {', '.join(NEEDED)}; missing "
            f"{', '.join(missing)}. {again}"
        )
    for key, value in UNDERSTOOD.items():
        if config.get(key) != value:
            raise ValueError(
                f"{path}: expected a model whose {key} is {value!r}; got {config.get(key)!r}. "
                f"{again}"
            )
    return config
