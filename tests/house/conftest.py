"""What the house rules are checked on: the files of the repository and of the registry archive."""

import subprocess
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _git_files(*options: str) -> set[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "-z", *options],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root, which is also the package."""
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """Files that git tracks or would track, relative to the root."""
    return sorted(_git_files("--exclude-standard"))


@pytest.fixture(scope="session")
def shipped(tracked: list[str]) -> list[str]:
    """`tracked` without what .comfyignore keeps out of the registry archive."""
    ignored = _git_files("--ignored", "--exclude-from=.comfyignore")
    return [name for name in tracked if name not in ignored]


@dataclass(frozen=True)
class Archive:
    """The registry's zip file, and the folder that it was unpacked into."""

    path: Path
    unpacked: Path

    @cached_property
    def names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as file:
            return file.namelist()

    def size(self, name: str) -> int:
        return (self.unpacked / name).stat().st_size


@pytest.fixture(scope="session")
def archive(root: Path, shipped: list[str], tmp_path_factory) -> Archive:
    """Packed as `comfy node pack` does."""
    folder = tmp_path_factory.mktemp("registry")
    packed = Archive(folder / "node.zip", folder / "mannequin")
    with zipfile.ZipFile(packed.path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in shipped:
            file.write(root / name, name)
    with zipfile.ZipFile(packed.path) as file:
        file.extractall(packed.unpacked)
    return packed
