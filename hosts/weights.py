"""A person model's file: `unet.*`, `unet_encoder.*` and `vae.*` in diffusers names (the published
Leffa layout) and, in the metadata, the configuration; where that is missing, shapes tell it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import published

ROOMS = ("unet", "unet_encoder", "vae")
NEEDED = (*ROOMS, "latent_channels", "latent_scale", "downscale", "zero_terminal_snr")
UNDERSTOOD = {
    "prediction": ("sample", "epsilon"),
    "dense_pose": ("iuv-features", "rgb", "iuv"),
}
CONVERTED = ".safetensors"


@dataclass(frozen=True)
class PersonWeights:
    """config: as written by the trainer, see `lab/training/models.py`, or told by the shapes, see
    `published.config_of`. tensors: per room, as stored.
    """

    config: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def read(path: Path) -> PersonWeights:
    """Opens a person model. Raises ValueError naming the file, what was expected and what came."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Put the model into models/mannequin.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): expected a safetensors file. Copy it again.")
    if path.suffix.lower() != CONVERTED:
        raise ValueError(
            f"{path}: expected a {CONVERTED} file; got {path.suffix or 'a file without ending'}. "
            f"Convert a published checkpoint once: mannequin convert {path.name}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {room: {} for room in ROOMS}
            for key in file.keys():  # noqa: SIM118
                room, _, name = key.partition(".")
                if room in tensors and not name.startswith(published.UNUSED):
                    tensors[room][name] = file.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it is truncated or of another "
            "format. Copy or convert it again."
        ) from error
    missing = [room for room in ROOMS if not tensors[room]]
    if missing:
        raise ValueError(
            f"{path} is not a person model: expected tensors under {', '.join(ROOMS)}; missing "
            f"{', '.join(missing)}. Choose a file from the list of Load Person Model. A plain "
            "SD1.5 or SDXL checkpoint is opened by Load Checkpoint."
        )
    shapes = {room: {k: tuple(t.shape) for k, t in tensors[room].items()} for room in ROOMS}
    return PersonWeights(config_of(path, metadata, shapes), tensors)


def config_of(
    path: Path, metadata: Mapping[str, str], shapes: Mapping[str, published.Shapes]
) -> dict[str, Any]:
    """The configuration in the metadata, or the one that the tensors' shapes tell. Raises
    ValueError when the hosts do not understand it.
    """
    if "mannequin" not in metadata:
        try:
            return published.config_of(shapes)
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{path} is not a Mannequin person model and not a published Leffa checkpoint: "
                f"{error}. Choose a file from the list of Load Person Model."
            ) from error
    text = metadata["mannequin"]
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
    for key, values in UNDERSTOOD.items():
        if config.get(key) not in values:
            raise ValueError(
                f"{path}: expected a model whose {key} is {' or '.join(map(repr, values))}; got "
                f"{config.get(key)!r}. {again}"
            )
    return config
