"""Every node, input and output has its text in every language, and nothing stale is left."""

import json
import re

import pytest

from mannequin.headless import locales

LANGUAGES = ("ja", "zh")
SPECIAL = set("@{}|")  # the front end's translation library reads these as instructions


def read(root, language: str, name: str) -> dict:
    return json.loads((root / "locales" / language / f"{name}.json").read_text(encoding="utf-8"))


def texts(content: dict, path: str = "") -> dict[str, str]:
    """Every text by its path, `MannequinFlowPreview.inputs.mode.tooltip`."""
    found = {}
    for key, value in content.items():
        where = f"{path}.{key}" if path else key
        found |= texts(value, where) if isinstance(value, dict) else {where: value}
    return found


def test_every_language_is_there(root):
    assert {path.name for path in (root / "locales").iterdir()} == {"en", *LANGUAGES}


def test_english_is_what_the_schemas_say(root):
    hint = "run `python -m mannequin.headless.locales`, then translate what changed"
    assert read(root, "en", "nodeDefs") == locales.node_definitions(), hint
    assert read(root, "en", "main") == locales.main_texts(), hint


@pytest.mark.parametrize("name", ["main", "nodeDefs"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_same_entries_as_english(root, language, name):
    english, theirs = (texts(read(root, code, name)) for code in ("en", language))
    assert sorted(theirs) == sorted(english)
    assert [where for where, text in theirs.items() if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_explanations_are_translated_with_their_numbers(root, language):
    english, theirs = (texts(read(root, code, "nodeDefs")) for code in ("en", language))
    for where, text in english.items():
        if where.endswith((".description", ".tooltip")):
            assert not theirs[where].isascii(), f"{where} is not translated"
            numbers = set(re.findall(r"\d+(?:\.\d+)?", text))
            kept = set(re.findall(r"\d+(?:\.\d+)?", theirs[where]))
            assert numbers <= kept, f"{where}: {numbers - kept} is missing"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_names_the_choices_as_the_menu_does(root, language):
    """Values of a combo are not translated by the front end, so explanations keep them."""
    modes = read(root, language, "nodeDefs")["MannequinFlowPreview"]["inputs"]["mode"]["tooltip"]
    for name in ("colour wheel", "arrows", "warped reference", "confidence"):
        assert name in modes


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_no_text_is_an_instruction_to_the_front_end(root, language):
    found = [
        where for where, t in texts(read(root, language, "nodeDefs")).items() if SPECIAL & {*t}
    ]
    assert found == []
