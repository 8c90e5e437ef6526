"""Blueprints are in the node library, can be placed, and run."""

import pytest

from mannequin.lab.blueprints import blueprints

BLUEPRINTS = {blueprint.name: blueprint for blueprint in blueprints()}


@pytest.mark.slow
def test_the_node_library_lists_them(editor):
    assert set(editor.library("Mannequin")) >= {*BLUEPRINTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_placed_and_runs(editor, shipped, name):
    blueprint = BLUEPRINTS[name]
    editor.clear()
    editor.place(name)
    assert editor.unknown() == []
    assert editor.widgets(name) == [widget for _, widget in blueprint.widgets]
    files = {
        node["_meta"]["title"]: node["inputs"]
        for node in shipped(blueprint.workflow.name, "api").values()
        if node["class_type"].startswith("LoadImage")
    }
    for input_, (title, output) in blueprint.inputs.items():
        kind = "LoadImageMask" if output == "MASK" else "LoadImage"
        editor.feed(name, input_, kind, files[title])
    editor.take(name, "image", "SaveImage")
    history = editor.run()
    assert history["status"]["status_str"] == "success", history["status"]["messages"][-1]
    assert editor.shown("SaveImage of image") == [[96, 128]]
