"""Where a workflow tells the front end that a model can be downloaded, it says so completely."""

import json

import pytest

FOLDERS = {
    "checkpoints",
    "mannequin",
    "mannequin_adapters",
    "vae",
    "loras",
    "controlnet",
    "clip_vision",
}
SHIPPED = {
    "MannequinLoadPersonModel": "mannequin-tiny.safetensors",
    "MannequinLoadInpaintModel": "mannequin-tiny-inpaint.safetensors",
    "CheckpointLoaderSimple": None,
}


@pytest.fixture(scope="module")
def canvas_nodes(root):
    """(file, node) of every node of every canvas workflow and blueprint."""
    found = []
    for path in [*(root / "workflows").glob("*.json"), *(root / "subgraphs").glob("*.json")]:
        content = json.loads(path.read_text(encoding="utf-8"))
        inner = content.get("definitions", {}).get("subgraphs", [])
        for graph in [content, *inner]:
            found += [(path.name, node) for node in graph["nodes"]]
    return found


@pytest.fixture(scope="module")
def hints(canvas_nodes):
    """(file, node, hint)"""
    return [
        (name, node, hint)
        for name, node in canvas_nodes
        for hint in node.get("properties", {}).get("models", [])
    ]


def test_a_hint_has_a_name_an_address_and_a_folder(hints):
    assert hints
    for name, node, hint in hints:
        assert {"name", "url", "directory"} <= hint.keys(), name
        assert hint["name"].endswith(".safetensors"), name
        assert hint["url"].startswith("https://") and hint["url"].endswith("/" + hint["name"]), name
        assert hint["directory"] in FOLDERS, name
        assert hint["name"] in node["widgets_values"], f"{name}: the node names another file"


def test_the_documents_name_the_licence_of_every_hint(root, hints):
    pages = [path.read_text(encoding="utf-8") for path in (root / "web" / "docs").glob("*.md")]
    for name, _, hint in hints:
        told = [page.partition(hint["name"])[2][:80] for page in pages if hint["name"] in page]
        assert any("licence" in text for text in told), f"{name}: licence of {hint['name']}"


def test_a_model_without_a_hint_ships_or_is_a_published_one_to_convert(canvas_nodes, root):
    """The published Leffa files are no safetensors, so no hint can offer them."""
    page = (root / "web" / "docs" / "MannequinLoadPersonModel.md").read_text(encoding="utf-8")
    for name, node in canvas_nodes:
        if node["type"] not in SHIPPED:
            continue
        file = node["widgets_values"][0]
        hinted = [hint["name"] for hint in node["properties"].get("models", [])]
        if file != SHIPPED[node["type"]] and file not in hinted:
            assert node["type"] == "MannequinLoadPersonModel", name
            assert file.startswith("leffa_"), f"{name}: {file} neither ships nor has a hint"
            assert "mannequin convert" in page
