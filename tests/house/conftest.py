"""What the house rules are checked on: the files of the repository and of the registry archive."""

import subprocess
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
