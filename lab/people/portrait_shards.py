"""Close-ups on disk: shards of seeds, written once each, resumable."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .portraits import VERSION, render_portraits
from .shards import write_shards

ARRAYS = ("face_image", "face_label", "face_points", "hand_image", "hand_label", "hand_points")


def write_portrait_shard(path: Path, seeds: range, split: str) -> Path:
    """Renders the close-ups of `seeds` into one file; it appears only when it is whole.

    Tensors carry the seeds as leading dimension, see Portraits.  Metadata: json of seeds, faces
    and hands (attributes [n][6] and [n][4]); split; version.
    """
    sets = [render_portraits(seed, split) for seed in seeds]
    tensors = {name: np.stack([getattr(s, name) for s in sets]) for name in ARRAYS}
    metadata = {
        "seeds": json.dumps(list(seeds)),
        "split": split,
        "version": VERSION,
        "faces": json.dumps([s.faces for s in sets]),
        "hands": json.dumps([s.hands for s in sets]),
    }
    unfinished = path.with_suffix(".part")
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, unfinished, metadata)
    unfinished.replace(path)
    return path


def write_portraits(
    out: Path, first_seed: int, count: int, split: str, processes: int = 1
) -> list[Path]:
    """As write_shards, for the close-ups of recipe portraits-1."""
    return write_shards(
        out, first_seed, count, split, processes, write=write_portrait_shard, version=VERSION
    )
