"""Settings: which node is meant, and text read as the input's type."""

from pathlib import Path

import pytest

from mannequin.headless import folders
from mannequin.headless.params import apply_seed, apply_settings, parse_settings


def changed(prompt, nodes, address, value):
    result, problems = apply_settings(prompt, {address: value}, nodes)
    assert problems == []
    return result


def refused(prompt, nodes, address, value="1"):
    result, problems = apply_settings(prompt, {address: value}, nodes)
    assert result == prompt
    assert len(problems) == 1
    return str(problems[0])


@pytest.mark.parametrize("name", ["2", "Light grey", "light GREY"])
def test_a_node_is_called_by_id_or_title(prompt, nodes, name):
    assert changed(prompt, nodes, f"{name}.seed", "7")["2"]["inputs"]["seed"] == 7
    assert prompt["2"]["inputs"]["seed"] == 200


def test_a_node_is_called_by_its_class_when_it_is_the_only_one(prompt, nodes):
    result = changed(prompt, nodes, "SaveImage.filename_prefix", "a=b.c")
    assert result["4"]["inputs"]["filename_prefix"] == "a=b.c"


def test_a_title_may_hold_dots(prompt, nodes):
    prompt["1"]["_meta"]["title"] = "Grey no. 1"
    assert changed(prompt, nodes, "Grey no. 1.seed", "7")["1"]["inputs"]["seed"] == 7


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", " 12 ", 12),
        ("gain", "1e-1", 0.1),
        ("invert", "yes", True),
        ("invert", "False", False),
        ("size", "large", "large"),
        ("note", " kept as it is ", " kept as it is "),
        ("seed", 12, 12),
    ],
)
def test_text_is_read_as_the_declared_type(prompt, nodes, name, text, value):
    result = changed(prompt, nodes, f"1.{name}", text)["1"]["inputs"][name]
    assert (result, type(result)) == (value, type(value))


def test_a_name_of_two_nodes_is_refused_with_both(prompt, nodes):
    text = refused(prompt, nodes, "Paint.seed")
    assert 'the name "Paint" of 2: node 1 "Dark grey" (Paint), node 2' in text


def test_a_name_of_no_node_is_refused_with_all_there_are(prompt, nodes):
    text = refused(prompt, nodes, "Grey.seed")
    assert '"Grey", which no node is called' in text
    assert all(f"node {key}" in text for key in prompt)


def test_an_unknown_input_is_refused_with_all_there_are(prompt, nodes):
    text = refused(prompt, nodes, "1.sead")
    assert "Did you mean 'seed'?" in text
    assert "It has: seed, gain, invert, size, note." in text


def test_an_input_that_takes_a_wire_cannot_be_set(prompt, nodes):
    assert '"a", which takes a wire' in refused(prompt, nodes, "Join.a", "me.png")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("seed", "1.5", "a whole number from 0 to 255"),
        ("gain", "loud", "a number from 0.0"),
        ("invert", "maybe", "true or false"),
    ],
)
def test_text_of_another_type_is_refused(prompt, nodes, name, text, says):
    assert f"expected {says}" in refused(prompt, nodes, f"1.{name}", text)


def test_settings_are_parsed_at_the_first_equals_sign():
    settings, problems = parse_settings(["A b.c=d=e", "nonsense", "seed=1"])
    assert settings["A b.c"] == "d=e"
    assert len(problems) == 2
    assert "expected NODE.input=value; came 'nonsense'" in str(problems[0])


def test_the_seed_goes_to_every_node_that_has_one(prompt, nodes):
    prompt["2"]["inputs"]["seed"] = ["9", 0]
    result, problems = apply_seed(prompt, 5, nodes)
    assert problems == []
    assert result["1"]["inputs"]["seed"] == 5
    assert result["2"]["inputs"]["seed"] == ["9", 0]
    _, problems = apply_seed({"4": prompt["4"]}, 5, nodes)
    assert "none in this workflow" in str(problems[0])


def test_a_picture_is_found_in_the_working_directory_first(nodes, tmp_path, monkeypatch):
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}
    inputs, here = tmp_path / "inputs", tmp_path / "here"
    for folder, names in ((inputs, ["both.png", "example.png"]), (here, ["both.png", "me.png"])):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    monkeypatch.setitem(folders._directories, "input", str(inputs))
    monkeypatch.chdir(here)

    def found(text):
        name = changed(prompt, nodes, "1.image", text)["1"]["inputs"]["image"]
        return name, Path(folders.get_annotated_filepath(name))

    assert found("me.png") == ("me.png", here / "me.png")
    assert found("example.png") == ("example.png", inputs / "example.png")
    assert found("both.png")[1] == here / "both.png"
    assert found(str(inputs / "both.png"))[1] == inputs / "both.png"
    assert found(Path("me.png"))[1] == here / "me.png"
