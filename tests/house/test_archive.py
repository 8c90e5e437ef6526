"""The archive that the registry gives to ComfyUI's users: small, clean, and a pack of its own."""

import json
import subprocess
import sys
import tomllib

import pytest

MEGABYTE = 2**20
LOAD = """
import asyncio, importlib.util, json, pathlib, sys
from mannequin.headless import standin

standin.install()
for name in [n for n in sys.modules if n == "mannequin" or n.startswith("mannequin.")]:
    if not name.startswith("mannequin.headless"):
        del sys.modules[name]
folder = pathlib.Path(sys.argv[1])
spec = importlib.util.spec_from_file_location(
    "custom_nodes_x_pack", folder / "__init__.py", submodule_search_locations=[str(folder)]
)
pack = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = pack
spec.loader.exec_module(pack)

async def listed():
    extension = await pack.comfy_entrypoint()
    return [node.GET_SCHEMA().node_id for node in await extension.get_node_list()]

ids = asyncio.run(listed())
from custom_nodes_x_pack.nodes import load_person_model as loader
import folder_paths
path = folder_paths.get_full_path_or_raise("mannequin", "mannequin-tiny.safetensors")
model, vae = loader.LoadPersonModel.execute("mannequin-tiny.safetensors").args
outside = [
    name for name, module in sys.modules.items()
    if name.partition(".")[0] == "mannequin" and not name.startswith("mannequin.headless")
    and name != "mannequin"
]
print(json.dumps({"ids": ids, "weights": path, "outside": outside}))
"""


def test_it_is_what_comfy_cli_packs(archive, root, shipped):
    """Files that git tracks, without what .comfyignore names."""
    assert sorted(archive.names) == sorted(shipped)
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["comfy"]
    assert settings["includes"] == []


def test_its_size_is_sane(archive):
    assert archive.path.stat().st_size < 40 * MEGABYTE
    sizes = {name: archive.size(name) for name in archive.names}
    weights = [sizes.pop(name) for name in list(sizes) if name.endswith(".safetensors")]
    assert len(weights) == 9 and sum(weights) < 40 * MEGABYTE
    assert sum(sizes.values()) < 4 * MEGABYTE
    pictures = sum(size for name, size in sizes.items() if name.startswith("web/docs/pictures/"))
    assert pictures < 1_200_000
    assert max(sizes, key=sizes.get).startswith("workflows/")


def test_it_holds_what_comfyui_looks_for(archive):
    assert {
        "__init__.py",
        "pyproject.toml",
        "requirements.txt",
        "LICENSE",
        "README.md",
        "weights/mannequin-tiny.safetensors",
    } <= set(archive.names)
    for folder, ending in (
        ("web/docs/", ".md"),
        ("web/docs/pictures/", ".jpg"),
        ("workflows/", ".json"),
        ("workflows/inputs/", ".png"),
        ("subgraphs/", ".json"),
        ("locales/ja/", ".json"),
        ("locales/zh/", ".json"),
    ):
        assert [n for n in archive.names if n.startswith(folder) and n.endswith(ending)], folder


def test_it_loads_and_runs_alone(archive, tmp_path):
    """Nothing in it needs what .comfyignore leaves out: only the stand-ins come from outside."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, archive.unpacked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["ids"]) >= 8
    assert found["weights"] == str(archive.unpacked / "weights" / "mannequin-tiny.safetensors")
    assert found["outside"] == []


@pytest.mark.parametrize("name", ["Icon", "Banner"])
def test_registry_pictures_are_there_and_fit(root, name):
    from PIL import Image

    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["comfy"]
    file = settings[name].rpartition("/main/")[2]
    assert settings[name].startswith("https://")
    width, height = Image.open(root / file).size
    if name == "Icon":
        assert width == height <= 400
    else:
        assert width * 9 == height * 21
