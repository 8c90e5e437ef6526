"""What a training node has done so far, in the temporary folder.

Faces are personal: ComfyUI empties that folder when it starts and when it ends, so that nothing of
them stays unless the artist saves it. The embedded engine's is `previews` in its output folder.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import folder_paths
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..methods.person_adapter import PersonAdapter
from ..methods.personalize import Tuning
from ..methods.pva import FaceEmbedding

log = logging.getLogger("mannequin")

MOST, ROOM = 8, 6 << 30  # states kept, and bytes of all of them


def key(
    adapter: PersonAdapter, faces: FaceEmbedding, probe: Sequence[Tensor], tuning: Tuning
) -> str:
    """One text for everything that the result depends on, the number of steps left out.

    probe: of the base, see `Personalization.probe`.
    """
    about = {**asdict(tuning), "steps": None, "config": adapter.config, "source": faces.source}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    tensors = [t for _, t in sorted(adapter.tensors.items())]
    tensors += [faces.vectors, faces.mirrored, faces.pictures, faces.faces, *probe]
    for t in tensors:
        digest.update(t.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def find(name: str) -> dict[str, Tensor] | None:
    """What was kept under that name; copies, because an open file cannot be replaced on Windows."""
    path = _folder() / f"{name}.safetensors"
    return {k: t.clone() for k, t in load_file(path).items()} if path.is_file() else None


def keep(name: str, state: Mapping[str, Tensor]) -> None:
    """Keeps a state, and of the older ones no more than MOST and what fits into ROOM.

    A disk that takes no more is told in the log: what was learned is still in memory then.
    """
    folder = _folder()
    partial = folder / f"{name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: t.contiguous() for k, t in state.items()}, partial)
        partial.replace(folder / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        log.warning(
            "Personalize Face could not keep its work in %s (%s): interrupted, it will begin "
            "again. Free some space there.",
            folder,
            error,
        )
        return
    files = sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    taken = 0
    for number, path in enumerate(files):
        taken += path.stat().st_size
        if number and (number >= MOST or taken > ROOM):
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(folder_paths.get_temp_directory()) / "mannequin_personalize"
