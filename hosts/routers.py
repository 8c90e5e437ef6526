"""Files of trained mixtures of attention: experts, routers and what binds a picture to a word."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from ..methods.moa_weights import MoAWeights, names
from .adapters import opened

FAMILY = "moa"
FOLDER = "models/mannequin/routers"


def read_router(path: Path) -> MoAWeights:
    """Opens a router. Raises ValueError naming the file, what was expected and what came."""
    path = Path(path)
    metadata, tensors = opened(path, "router", FOLDER)
    try:
        config, provenance = (
            json.loads(metadata.get(key, "{}")) for key in ("mannequin", "provenance")
        )
        family = config.get("family", "another kind")
        if family != FAMILY:
            raise ValueError(
                f"expected a file of the family {FAMILY!r}; got {family!r}. Adapters belong into "
                "models/mannequin/adapters"
            )
        lacking = sorted(names(tuple(config["layers"])) - set(tensors))
        if lacking:
            raise ValueError(f"{lacking[0]} is missing, with {len(lacking) - 1} more tensors")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a router of MoA: {error}. Choose a file from the list of MoA Router."
        ) from error
    return MoAWeights(config, tensors, provenance)


def write_router(path: Path, weights: MoAWeights) -> None:
    """Writes a router in half precision; the file appears only when it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "mannequin": json.dumps(weights.config),
        "provenance": json.dumps(weights.provenance),
        "format": "pt",
    }
    partial = path.with_suffix(".partial")
    save_file({k: t.half().contiguous() for k, t in weights.tensors.items()}, partial, about)
    partial.replace(path)
