"""Files of person adapters: ours, with consent and provenance in the metadata, and IP-Adapter's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..methods.person_adapter import PersonAdapter, image_prompt_adapter

FAMILY = "pva"
ENDING = ".safetensors"


def read_adapter(path: Path) -> PersonAdapter:
    """Opens an adapter. Raises ValueError naming the file, what was expected and what came."""
    path = Path(path)
    metadata, tensors = opened(path, "adapter", "models/mannequin/adapters")
    try:
        if "mannequin" not in metadata:
            return image_prompt_adapter(tensors)
        config, consent, provenance = (
            json.loads(metadata.get(key, "{}")) for key in ("mannequin", "consent", "provenance")
        )
        return _ours(config, tensors, consent, provenance)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a person adapter: {error}") from error


def opened(path: Path, what: str, folder: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file. Raises ValueError for what is no safetensors file; what,
    folder: for people.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file. Put the {what} into {folder}.")
    if path.suffix.lower() != ENDING:
        raise ValueError(
            f"{path}: expected a {ENDING} file; got {path.suffix or 'no ending'}. Most {what}s "
            "are published as safetensors too: take that file."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return metadata, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it is truncated or of another "
            "format. Copy or save it again."
        ) from error


def _ours(
    config: dict[str, Any], tensors: dict[str, Tensor], consent: dict, provenance: dict
) -> PersonAdapter:
    if config.get("family") not in (FAMILY, "ip-adapter") or "identity" not in config:
        raise ValueError(
            f"expected a file of the family {FAMILY!r}; got {config.get('family')!r}. Choose a "
            "file from the list of Load Person Adapter."
        )
    adapter = PersonAdapter(config, tensors, consent, provenance)
    try:
        adapter.encoder()
    except RuntimeError as error:
        raise ValueError(f"its identity encoder is incomplete ({error}). Save it again.") from error
    return adapter


def write_adapter(path: Path, adapter: PersonAdapter) -> None:
    """Writes an adapter in half precision; the file appears only when it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "mannequin": json.dumps(adapter.config),
        "consent": json.dumps(adapter.consent),
        "provenance": json.dumps(adapter.provenance),
        "format": "pt",
    }
    partial = path.with_suffix(".partial")
    save_file({k: t.half().contiguous() for k, t in adapter.tensors.items()}, partial, about)
    partial.replace(path)
