"""The packaging says the same as the folders."""

import tomllib

import pytest


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_installed(project, tracked):
    folders = {
        name.rpartition("/")[0]
        for name in tracked
        if name.rpartition("/")[2] == "__init__.py" and not name.startswith("tests/")
    }
    packages = {"mannequin" + ("." + f.replace("/", ".") if f else "") for f in folders}
    assert packages == set(project["tool"]["setuptools"]["packages"])


def test_tests_are_not_packages(tracked):
    assert [n for n in tracked if n.startswith("tests/") and n.endswith("__init__.py")] == []


def test_requirements_are_lower_bounds_only(root):
    lines = (root / "requirements.txt").read_text(encoding="utf-8").split()
    assert {line.split(">=")[0] for line in lines} == {
        "torch",
        "diffusers",
        "comfyui-frontend-package",
        "safetensors",
        "numpy",
        "pillow",
        "einops",
    }
    assert [line for line in lines if line.count(">=") != 1 or "," in line or "==" in line] == []


def test_registry_fields(project):
    assert project["project"]["license"] == {"file": "LICENSE"}
    assert "comfyui" not in project["project"]["name"].lower()
    assert project["tool"]["comfy"]["PublisherId"]


def test_every_workflow_has_a_thumbnail_and_an_automation_twin(root):
    names = {path.stem for path in (root / "workflows").glob("*.json")}
    assert names
    assert {path.stem for path in (root / "workflows").glob("*.jpg")} == names
    assert {path.stem for path in (root / "workflows" / "api").glob("*.json")} == names


def test_every_node_has_a_help_page(root):
    ids = {
        line.split('"')[1]
        for path in (root / "nodes").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith('node_id="')
    }
    assert len(ids) >= 6
    assert {path.stem for path in (root / "web" / "docs").glob("*.md")} == ids
