"""Other people's checks of ComfyUI packs, on the archive that the registry would get.

They live in an environment of their own, because they want other versions than we do:
`make validators` makes it, and `make test-slow` before these tests. Nothing here needs a network.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv" / "validators"
PACK = "mannequin"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    """validator(name, *arguments, cwd): one of the programs, run to its end without our secrets."""
    home = tmp_path_factory.mktemp("home")

    def run(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
        program = ENVIRONMENT / "bin" / name
        if not program.is_file():
            pytest.skip(f"{name} is not installed: run `make validators`, which needs PyPI")
        environment = {**os.environ, "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"}
        return subprocess.run(
            [program, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def pack(archive) -> Path:
    """The unpacked archive in a repository of its own, as these programs expect it."""
    folder = archive.unpacked
    if not (folder / ".git").exists():
        for command in (["init", "-q"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


def said(done: subprocess.CompletedProcess) -> str:
    return f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


def test_comfy_node_validate(validator, pack):
    """The registry's own check before publishing."""
    done = validator("comfy", "--skip-prompt", "--no-json", "node", "validate", cwd=pack)
    assert done.returncode == 0, said(done)
    assert "All validation checks passed" in done.stdout, said(done)
    assert "Warning" not in done.stdout, said(done)


def test_comfy_node_pack_packs_what_we_think(validator, archive, pack, tmp_path):
    """Our test archive is the registry's: same files."""
    import zipfile

    copy = tmp_path / "repository"
    shutil.copytree(pack, copy)
    done = validator("comfy", "--skip-prompt", "--no-json", "node", "pack", cwd=copy)
    assert done.returncode == 0, said(done)
    with zipfile.ZipFile(copy / "node.zip") as made:
        assert sorted(made.namelist()) == sorted(archive.names)


def test_comfy_test_lint(validator, pack):
    done = validator("comfy-test", "lint", pack, "--strict", cwd=pack)
    assert done.returncode == 0, said(done)
    assert "FAILED" not in done.stdout, said(done)


def test_nodesafe_scan(validator, pack):
    """Nothing that it calls malicious, and no suspicion that reading the line does not dispel.

    It suspects long texts of many different characters (4.5 bits each) of being encoded: shapes in
    docstrings are; `ord(` is the end of a name of ours; lambdas and getattr by a name of our own.
    """
    done = validator(
        "nodesafe", "scan", pack, "--format", "json", "--fail-on", "malicious", cwd=pack.parent
    )
    assert done.returncode == 0, said(done)
    left = []
    for finding in json.loads(done.stdout)["findings"]:
        assert finding["severity"] in ("low", "medium"), finding
        kind, place = finding["category"], f"{finding['file']}:{finding['line']}"
        line = (pack / finding["file"]).read_text(encoding="utf-8").splitlines()
        shown = line[finding["line"] - 1]
        if kind == "code_obfuscation_high_entropy":
            ours = prose(pack / finding["file"], finding["line"])
        elif kind == "obfuscation_chains":
            ours = "FlowRecord(" in shown or "lambda x: network.encode(x)" in shown
        else:
            ours = kind == "dynamic_attribute_access" and "kernels/" in finding["file"]
        if not ours:
            left.append(f"{place} {finding['title']}: {shown}")
    assert left == []


def prose(path: Path, number: int) -> bool:
    """Whether the text that begins in that line is a docstring, an explanation or a pattern: it
    has spaces between words, or it is a regular expression of layer names.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if node.lineno == number and (
                len(text.split()) > len(text) / 14 or "attentions" in text
            ):
                return True
    return False


def test_nodesafe_scans_every_workflow(validator, root, pack):
    for path in sorted((root / "workflows").glob("*.json")):
        done = validator("nodesafe", "scan-workflow", path, cwd=pack.parent)
        assert done.returncode == 0, said(done)


def checkouts() -> list[Path]:
    """The ComfyUIs on this machine that carry their history: COMFYUI_DIR and those in ~/comfy."""
    named = os.environ.get("COMFYUI_DIR")
    found = [Path(named).expanduser()] if named else []
    found += sorted(Path("~/comfy").expanduser().glob("*"))
    return [path for path in dict.fromkeys(found) if (path / ".git").exists()]


@pytest.mark.parametrize("checkout", checkouts() or [None], ids=lambda path: path and path.name)
def test_comfy_import_guard(validator, pack, checkout, tmp_path):
    """Everything that we import from ComfyUI exists in that version, and is called as it wants."""
    if checkout is None:
        pytest.skip("no ComfyUI checkout with its history: set COMFYUI_DIR to run this test")
    clone = tmp_path / "cache" / "ComfyUI"
    clone.parent.mkdir()
    git = ["git", "clone", "--quiet", "--shared", "--no-checkout", checkout, clone]
    subprocess.run(git, check=True, capture_output=True)
    (tmp_path / "install" / "custom_nodes").mkdir(parents=True)
    shutil.copytree(pack, tmp_path / "install" / "custom_nodes" / PACK)
    done = validator(
        "comfy-import-guard",
        "check",
        "--comfy-dir",
        tmp_path / "install",
        "--cache-dir",
        clone.parent,
        "--offline",
        "--strict",
        "--target",
        "HEAD",
        cwd=tmp_path,
    )
    assert done.returncode == 0, said(done)
    assert "1 safe" in done.stdout, said(done)


def brought_by_the_user() -> set[tuple[str, str]]:
    """(folder in models/, file) of the models that the workflows name and the pack has not."""
    found = set()
    for path in (ROOT / "workflows" / "api").glob("*.json"):
        for node in json.loads(path.read_text(encoding="utf-8")).values():
            for folder, key in (("mannequin", "model_name"), ("checkpoints", "ckpt_name")):
                file = node["inputs"].get(key)
                if file and not any((ROOT / "weights").rglob(file)):
                    found.add((folder, file))
    return found


@pytest.fixture(scope="module")
def object_info(tmp_path_factory) -> Path:
    """What a real ComfyUI says of all its nodes and ours, in a file."""
    folder = Path(os.environ.get("COMFYUI_DIR", "~/comfy/ComfyUI")).expanduser()
    if not (folder / "nodes.py").is_file():
        pytest.skip(f"no ComfyUI in {folder}: set COMFYUI_DIR to run this test")
    own = folder / ".venv" / "bin" / "python"
    python = os.environ.get("COMFYUI_PYTHON") or (str(own) if own.exists() else sys.executable)
    base = tmp_path_factory.mktemp("base")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / PACK).symlink_to(ROOT)
    (base / "input").mkdir()
    for picture in (ROOT / "workflows" / "inputs").glob("*.png"):
        (base / "input" / picture.name).symlink_to(picture)
    for folder_name, file in brought_by_the_user():
        (base / "models" / folder_name).mkdir(parents=True, exist_ok=True)
        (base / "models" / folder_name / file).touch()
    child = Path(__file__).with_name("object_info_child.py")
    out = base / "object_info.json"
    done = subprocess.run(
        [python, child, folder, base, out], cwd=base, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize(
    "path", sorted((ROOT / "workflows" / "api").glob("*.json")), ids=lambda path: path.stem
)
def test_comfy_workflow_validate(validator, object_info, path, tmp_path):
    """Against the nodes of a real ComfyUI, as if the user had brought the models."""
    done = validator(
        "comfy",
        "--skip-prompt",
        "--json",
        "workflow",
        "validate",
        "--workflow",
        path,
        "--input",
        object_info,
        cwd=tmp_path,
    )
    answer = json.loads(done.stdout)
    assert answer["ok"], json.dumps(answer["data"], indent=1)[:4000]
    assert answer["data"]["warnings"] == []
