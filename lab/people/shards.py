"""Training data on disk: shards of sets, written once each, resumable."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from .recipe import VERSION, stream
from .sets import render_set

SETS_PER_SHARD = 64


def shard_path(out: Path, index: int) -> Path:
    return Path(out) / f"shard_{index:05d}.safetensors"


def write_shard(path: Path, seeds: range, split: str) -> Path:
    """Renders the sets of `seeds` into one file; the file appears only when it is whole.

    Tensors carry the sets as leading dimension: image and dense_pose u8 [n, 4, H, W, 3], label u8
    [n, 4, H, W], keypoints f32 [n, 4, 18, 3], hands f32 [n, 4, 2, 21, 3], pairs i64 [12, 2], and
    flow f16 [n, 12, H/2, W/2, 2] with visible u8 [n, 12, H/2, W/2], exact at the centres of a
    half-resolution grid.  Metadata: json of seeds, attributes, captions; split; version.
    """
    sets = [render_set(seed, split, half_flow=True) for seed in seeds]
    tensors = {
        name: np.stack([getattr(s, name) for s in sets])
        for name in ("image", "dense_pose", "label", "keypoints", "hands")
    }
    tensors["flow"] = np.stack([s.flow for s in sets]).astype(np.float16)
    tensors["visible"] = np.stack([s.visible for s in sets]).astype(np.uint8)
    tensors["pairs"] = sets[0].pairs
    metadata = {
        "seeds": json.dumps(list(seeds)),
        "split": split,
        "version": VERSION,
        "attributes": json.dumps([s.attributes for s in sets]),
        "captions": json.dumps([s.captions for s in sets]),
    }
    unfinished = path.with_suffix(".part")
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, unfinished, metadata)
    unfinished.replace(path)
    return path


def check_shard(path: Path, seeds: range, split: str, version: str = VERSION) -> None:
    """Raises ValueError unless the shard at `path` holds these sets, made by recipe `version`."""
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()
    wanted = f"seeds {seeds[0]} to {seeds[-1]} of {split}, {version}"
    there = json.loads(facts["seeds"])
    came = f"seeds {there[0]} to {there[-1]} of {facts['split']}, {facts['version']}"
    if wanted != came:
        raise ValueError(
            f"{path}: expected {wanted}; the file there holds {came}. Give another folder, or "
            "remove the file."
        )


def write_shards(
    out: Path,
    first_seed: int,
    count: int,
    split: str,
    processes: int = 1,
    report: Callable[[Path, int, int], None] | None = None,
    write: Callable[[Path, range, str], Path] = write_shard,
    version: str = VERSION,
) -> list[Path]:
    """Renders `count` sets from `first_seed` on into shards of SETS_PER_SHARD under `out`.

    Shards that already exist are left alone, so that an interrupted run goes on where it was;
    others than would be written here are an error, so that no run trains on another run's people.
    `report(path, done, total)` is called after each shard.  `write` renders one shard by another
    recipe, `version`, and must be importable by name.  Set OMP_NUM_THREADS=1 when
    `processes` is more than one.  Raises ValueError for a bad split, seed, count or processes, and
    for a shard of other seeds.
    """
    stream(split, first_seed)
    for name, value in (("count", count), ("processes", processes)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of 1 or more, got {value!r}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    jobs = []
    for index, start in enumerate(range(first_seed, first_seed + count, SETS_PER_SHARD)):
        seeds = range(start, min(start + SETS_PER_SHARD, first_seed + count))
        jobs.append((shard_path(out, index), seeds, split))
    missing = [job for job in jobs if not job[0].exists()]
    for job in jobs:
        if job not in missing:
            check_shard(*job, version)
    done = len(jobs) - len(missing)

    def tell(path: Path) -> None:
        if report is not None:
            report(path, done, len(jobs))

    if processes == 1:
        for job in missing:
            path = write(*job)
            done += 1
            tell(path)
    else:
        with ProcessPoolExecutor(processes) as pool:
            for finished in as_completed([pool.submit(write, *job) for job in missing]):
                done += 1
                tell(finished.result())
    return [path for path, _, _ in jobs]
