"""The models' files: tensors by room, in diffusers' names, and the configuration in the metadata.

A person model has `unet.*`, `unet_encoder.*` and `vae.*` (the published Leffa layout; where the
configuration is missing, shapes tell it), an inpainting model `unet.*`, `text.*` and `vae.*`.
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
CONVERTED = ".safetensors"


@dataclass(frozen=True)
class Kind:
    """name: for people. loader, folder: where it belongs. rooms: all of its tensors. needed,
    understood: what its configuration must say, and what values the hosts understand.
    """

    name: str
    loader: str
    folder: str
    rooms: tuple[str, ...]
    needed: tuple[str, ...]
    understood: Mapping[str, tuple[Any, ...]]


SHARED = ("latent_channels", "latent_scale", "downscale", "zero_terminal_snr")
PERSON = Kind(
    "a person model",
    "Load Person Model",
    "models/mannequin",
    ROOMS,
    (*ROOMS, *SHARED),
    {
        "prediction": ("sample", "epsilon"),
        "dense_pose": ("iuv-features", "rgb", "iuv"),
    },
)
INPAINT = Kind(
    "an inpainting model with a text encoder",
    "Load Inpaint Model",
    "models/mannequin/inpaint",
    ("unet", "text", "vae"),
    ("unet", "text", "vae", *SHARED),
    {"prediction": ("sample", "epsilon")},
)
TEXT_NEEDED = ("words", "aliases", "length", "width", "layers", "heads")
AGAIN = "Train or convert it again with this version of Mannequin."


@dataclass(frozen=True)
class PersonWeights:
    """config: as written by the trainer, see `lab/training/models.py`, or told by the shapes, see
    `published.config_of`. tensors: per room, as stored.
    """

    config: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def read(path: Path) -> PersonWeights:
    """Opens a person model. Raises ValueError naming the file, what was expected and what came."""
    metadata, tensors = _opened(Path(path), PERSON)
    shapes = {room: {k: tuple(t.shape) for k, t in tensors[room].items()} for room in ROOMS}
    return PersonWeights(config_of(path, metadata, shapes), tensors)


def read_inpaint(path: Path) -> PersonWeights:
    """Opens an inpainting model; as `read`. Its configuration says of pictures and references what
    a plain checkpoint's says, whose place it takes among the nodes.
    """
    config, tensors = read_kind(Path(path), INPAINT)
    lacking = [key for key in TEXT_NEEDED if key not in config["text"]]
    if lacking:
        raise ValueError(
            f"{path}: expected a text encoder's {', '.join(TEXT_NEEDED)}; missing "
            f"{', '.join(lacking)}. {AGAIN}"
        )
    shapes = {name: tuple(t.shape) for name, t in tensors["unet"].items()}
    sizes = config.get("sizes", {}).values()
    plain = {
        "dense_pose": None,
        "unet_encoder": {"in_channels": config["latent_channels"]},
        "free_size": True,
        "size": max(sizes, default=[128, 128]),
        "flow_layers": published.flow_layers(shapes),
    }
    return PersonWeights({**plain, **config}, tensors)


def read_kind(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Configuration, and tensors by room, of a file that must say what it is; raises as `read`."""
    metadata, tensors = _opened(path, kind)
    if "mannequin" not in metadata:
        raise ValueError(f"{path}: expected a configuration in the metadata; got none. {AGAIN}")
    return _told(path, metadata["mannequin"], kind), tensors


def _opened(path: Path, kind: Kind) -> tuple[dict[str, str], dict[str, dict[str, Tensor]]]:
    """Metadata, and tensors by room. Raises ValueError for what is no such file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Put the model into {kind.folder}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): expected a safetensors file. Copy it again.")
    if path.suffix.lower() != CONVERTED:
        raise ValueError(
            f"{path}: expected a {CONVERTED} file; got {path.suffix or 'a file without ending'}. "
            f"Convert a published checkpoint once: mannequin convert {path.name}"
        )
    tensors: dict[str, dict[str, Tensor]] = {room: {} for room in kind.rooms}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            keys = list(file.keys())
            _check_kind(path, {key.partition(".")[0] for key in keys}, kind)
            for key in keys:
                room, _, name = key.partition(".")
                if room in tensors and not name.startswith(published.UNUSED):
                    tensors[room][name] = file.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it is truncated or of another "
            "format. Copy or convert it again."
        ) from error
    return metadata, tensors


def _check_kind(path: Path, rooms: set[str], kind: Kind) -> None:
    missing = [room for room in kind.rooms if room not in rooms]
    if not missing:
        return
    for other in (PERSON, INPAINT):
        if rooms.issuperset(other.rooms):
            raise ValueError(
                f"{path} is {other.name}, not {kind.name}: put it into {other.folder} and choose "
                f"it in {other.loader}."
            )
    raise ValueError(
        f"{path} is not {kind.name}: expected tensors under {', '.join(kind.rooms)}; missing "
        f"{', '.join(missing)}. Choose a file from the list of {kind.loader}. A plain SD1.5 or "
        "SDXL checkpoint is opened by Load Checkpoint."
    )


def config_of(
    path: Path, metadata: Mapping[str, str], shapes: Mapping[str, published.Shapes]
) -> dict[str, Any]:
    """A person model's configuration in the metadata, or the one that the tensors' shapes tell.
    Raises ValueError when the hosts do not understand it.
    """
    if "mannequin" in metadata:
        return _told(path, metadata["mannequin"], PERSON)
    try:
        return published.config_of(shapes)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not a Mannequin person model and not a published Leffa checkpoint: "
            f"{error}. Choose a file from the list of Load Person Model."
        ) from error


def _told(path: Path, text: str, kind: Kind) -> dict[str, Any]:
    """The configuration that the metadata tells."""
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: expected JSON in the metadata's 'mannequin' entry; got {text[:40]!r} "
            f"({error}). {AGAIN}"
        ) from error
    missing = [key for key in kind.needed if not isinstance(config, dict) or key not in config]
    if missing:
        raise ValueError(
            f"{path}: expected a configuration with {', '.join(kind.needed)}; missing "
            f"{', '.join(missing)}. {AGAIN}"
        )
    for key, values in kind.understood.items():
        if config.get(key) not in values:
            raise ValueError(
                f"{path}: expected a model whose {key} is {' or '.join(map(repr, values))}; got "
                f"{config.get(key)!r}. {AGAIN}"
            )
    return config
