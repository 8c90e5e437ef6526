"""What an older ComfyUI lacks is left out on purpose; everything else is the same on all."""

import json

import pytest

from mannequin.headless.registry import registry

ADVANCED = {"start_percent", "end_percent", "record_flow", "reference_run"}
ALIASES_SINCE = ADVANCED_SINCE = (0, 18)


@pytest.fixture(scope="module")
def listed(server):
    everything = json.loads(server.get("/object_info"))
    return {name: info for name, info in everything.items() if name.startswith("Mannequin")}


def options_of(info: dict) -> dict[str, dict]:
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return {name: rest[0] if rest else {} for name, (_, *rest) in inputs.items()}


def test_every_version_shows_our_inputs_and_outputs(listed):
    ours = {name: made for name, made in registry().items() if name.startswith("Mannequin")}
    assert listed.keys() == ours.keys()
    for name, info in listed.items():
        schema = ours[name].GET_SCHEMA()
        assert info["display_name"] == schema.display_name
        assert info["output_name"] == [output.display_name for output in schema.outputs], name
        assert list(options_of(info)) == [given.id for given in schema.inputs], name


def test_every_input_has_its_tooltip_on_every_version(listed):
    for name, info in listed.items():
        for given, options in options_of(info).items():
            assert options.get("tooltip"), f"{name}.{given}"


def test_inputs_are_advanced_where_comfyui_knows_that(listed, comfy_version):
    options = options_of(listed["MannequinFlowGuidedAttention"])
    hidden = {name for name, given in options.items() if given.get("advanced")}
    assert hidden == (ADVANCED if comfy_version >= ADVANCED_SINCE else set())


def test_aliases_are_given_where_comfyui_knows_them(listed, comfy_version):
    for name, info in listed.items():
        assert bool(info.get("search_aliases")) == (comfy_version >= ALIASES_SINCE), name


def test_workflows_from_before_an_input_still_run(server, every_node):
    prompt = every_node()
    assert "reference_run" not in prompt["attention"]["inputs"]
    assert server.paint(prompt)
