"""What a training node has done so far, in ComfyUI's temporary folder, which it empties itself.

Faces are personal: nothing of them is kept longer than that unless the artist saves it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import folder_paths
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..methods.person_adapter import PersonAdapter
from ..methods.personalize import Tuning
from ..methods.pva import ROOMS, FaceEmbedding, Projections

MOST = 8


def key(
    adapter: PersonAdapter,
    faces: FaceEmbedding,
    layers: Mapping[str, Projections],
    tuning: Tuning,
) -> str:
    """One text for everything that the result depends on, the number of steps left out."""
    about = {**asdict(tuning), "steps": None, "config": adapter.config, "source": faces.source}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    tensors = [t for _, t in sorted(adapter.tensors.items())]
    tensors += [faces.vectors, faces.mirrored, faces.pictures, faces.faces]
    tensors += [getattr(layers[name], room) for name in sorted(layers) for room in ROOMS]
    for t in tensors:
        digest.update(t.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def find(name: str) -> dict[str, Tensor] | None:
    """What was kept under that name."""
    path = _folder() / f"{name}.safetensors"
    return load_file(path) if path.is_file() else None


def keep(name: str, state: Mapping[str, Tensor]) -> None:
    """Keeps a state, and no more than the newest MOST of them."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    save_file({k: t.contiguous() for k, t in state.items()}, partial)
    partial.replace(folder / f"{name}.safetensors")
    files = sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in files[MOST:]:
        old.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(folder_paths.get_temp_directory()) / "mannequin_personalize"
