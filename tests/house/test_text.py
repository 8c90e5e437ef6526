"""Rules that a plain look at the text can check."""

from pathlib import Path

import pytest

# The registry hides a pack on any of these words, comments and documents included.
TRAPS = (
    ".eval(",
    "exec(",
    "os.environ",
    "subprocess",
    "urlopen(",
    "requests.",
    "aiohttp.ClientSession",
    ".connect(",
    ".bind(",
    ".send(",
    "torch.load",
    "pickle",
    "torch.compile(",
    "raw.githubusercontent",
)
LONGEST = 300
SOURCES = (".py", ".js", ".css", ".toml", ".txt")


def texts(root: Path, names: list[str]) -> dict[str, str]:
    """The readable ones of `names` with their text; binary files are left out."""
    found = {}
    for name in names:
        content = (root / name).read_bytes()
        if b"\0" not in content[:4096]:
            found[name] = content.decode("utf-8")
    return found


@pytest.fixture(scope="module")
def shipped_texts(archive):
    return texts(archive.unpacked, archive.names)


@pytest.fixture(scope="module")
def python_texts(root, tracked):
    return texts(root, [name for name in tracked if name.endswith(".py")])


def test_archive_holds_the_pack_and_only_the_pack(shipped):
    assert {"__init__.py", "pyproject.toml", "requirements.txt", "LICENSE"} <= set(shipped)
    strangers = ("lab/", "headless/", "tests/", "docs/", "requirements/", ".ci/")
    strangers += ("__main__.py", "Makefile")
    assert [name for name in shipped if name.startswith(strangers)] == []


@pytest.mark.parametrize("trap", TRAPS)
def test_archive_has_no_registry_trap(shipped_texts, trap):
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in shipped_texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if trap in line
    ]
    assert found == []


def test_sources_are_cp1252(root, tracked):
    for name, text in texts(root, [n for n in tracked if n.endswith(SOURCES)]).items():
        for number, line in enumerate(text.splitlines(), 1):
            try:
                line.encode("cp1252")
            except UnicodeEncodeError as error:
                pytest.fail(f"{name}:{number}: not cp1252: {error.object[error.start]!r}")


def test_python_files_fit_in_the_head(python_texts):
    lengths = {name: len(text.splitlines()) for name, text in python_texts.items()}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_every_python_file_says_what_it_is(python_texts):
    silent = [
        name
        for name, text in python_texts.items()
        if not text.lstrip().startswith(('"""', 'r"""')) and not name.startswith("tests/")
    ]
    assert silent == []
