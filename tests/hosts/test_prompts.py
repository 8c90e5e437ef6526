import logging

import pytest
import torch

from mannequin.hosts import prompts
from mannequin.hosts.text import BEGIN, END, PAD, UNKNOWN, make_text

CONFIG = {
    "words": ["a", "face", "red", "short", "hair", "<new1>"],
    "aliases": {"an": "a"},
    "length": 8,
    "width": 24,
    "layers": 2,
    "heads": 3,
}


@pytest.fixture(scope="module")
def text():
    torch.manual_seed(0)
    tokenizer, encoder = make_text(CONFIG)
    return tokenizer, encoder.train(False).requires_grad_(False)


def said(text, prompt, learned=None):
    tokenizer, encoder = text
    return prompts.encode(encoder, [prompts.tokens(tokenizer, prompt, learned)])


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("red hair", [("red hair", 1)]),
        ("a (red:1.3) face", [("a ", 1), ("red", 1.3), (" face", 1)]),
        ("(red) ((hair))", [("red", 1.1), ("hair", 1.1 * 1.1)]),
        ("(a (red:0.5) face:1.2)", [("a ", 1.2), ("red", 0.5), (" face", 1.2)]),
        ("(red: hair)", [("red: hair", 1.1)]),
        ("(red:nan)", [("red:nan", 1.1)]),
        (r"red \(hair\)", [("red  hair ", 1)]),
        ("red (hair", [("red ", 1), ("hair", 1)]),
        ("red) hair", [("red) hair", 1)]),
        ("", []),
    ],
)
def test_brackets_weigh_as_in_comfyui(prompt, parts):
    found = prompts.weighted(prompt)
    assert [words for words, _ in found] == [words for words, _ in parts]
    assert [w for _, w in found] == pytest.approx([w for _, w in parts])


def test_tokens_are_the_tokenizers(text):
    tokenizer, _ = text
    row = prompts.tokens(tokenizer, "an (red:1.5) face")
    assert [token for token, _ in row] == tokenizer(["an red face"])[0].tolist()
    assert [w for _, w in row] == [1, 1, 1.5, 1, 1, 1, 1, 1]
    assert [token for token, _ in prompts.tokens(tokenizer, "")] == [BEGIN, END] + [PAD] * 6


def test_unknown_words_are_named_once_and_nothing_crashes(text, caplog):
    with caplog.at_level(logging.WARNING, logger="mannequin"):
        row = prompts.tokens(text[0], "a unicorn, a Unicorn with red wings")
    assert "does not know unicorn, with, wings:" in caplog.text
    assert row[2] == (UNKNOWN, 1.0)
    caplog.clear()
    prompts.tokens(text[0], "a red face")
    assert not caplog.records


def test_words_that_do_not_fit_are_told(text, caplog):
    with caplog.at_level(logging.WARNING, logger="mannequin"):
        row = prompts.tokens(text[0], "a red face short hair hair red face")
    assert "reads 6 words; left out: red face" in caplog.text
    assert len(row) == 8 and row[-1] == (END, 1.0)


def test_a_weight_moves_away_from_what_the_empty_prompt_says(text):
    tokenizer, encoder = text
    plain, nothing = said(text, "a red face"), said(text, "")
    assert torch.equal(plain, encoder(tokenizer(["a red face"])))
    assert torch.equal(plain, said(text, "a (red:1) face"))
    louder = said(text, "a (red:1.5) face")
    place = 2
    expected = nothing[0, place] + 1.5 * (plain[0, place] - nothing[0, place])
    torch.testing.assert_close(louder[0, place], expected)
    others = [i for i in range(8) if i != place]
    torch.testing.assert_close(louder[0, others], plain[0, others])
    torch.testing.assert_close(said(text, "(a red face:0)")[0, 1:4], nothing[0, 1:4])


def test_prompts_are_encoded_together_as_alone(text):
    tokenizer, encoder = text
    rows = [prompts.tokens(tokenizer, p) for p in ("a (red:1.5) face", "short hair")]
    together = prompts.encode(encoder, rows)
    torch.testing.assert_close(together[0:1], said(text, "a (red:1.5) face"))
    torch.testing.assert_close(together[1:2], said(text, "short hair"))


def test_a_learned_word_stands_for_its_embedding(text, caplog):
    tokenizer, encoder = text
    own = encoder.embed.weight[tokenizer.index["<new1>"]]
    torch.testing.assert_close(
        said(text, "a <new1>", {"<new1>": own.clone()}), said(text, "a <new1>")
    )
    other = torch.randn(24, requires_grad=True)
    with caplog.at_level(logging.WARNING, logger="mannequin"):
        changed = said(text, "a (<anna>:1.2) face", {"<anna>": other})
    assert not caplog.records, "a learned word is known"
    assert not torch.allclose(changed, said(text, "a (<new1>:1.2) face"), atol=1e-4)
    changed.square().sum().backward()
    assert other.grad.abs().sum() > 0
    assert encoder.embed.weight.grad is None


@pytest.mark.parametrize(
    ("prompt", "phrase", "places"),
    [
        ("a red face, short hair", "face", [(3,)]),
        ("An (red:1.5) face", "a Red", [(1, 2)]),
        ("face face a face", "face", [(1,), (2,), (4,)]),
        ("a unicorn and a griffin", "griffin", [(5,)]),
        ("a a a a a a face", "face", []),
        ("a reddish face", "red", []),
        ("a red face", "", []),
    ],
)
def test_places_of_a_word_in_the_row_of_tokens(text, prompt, phrase, places):
    tokenizer, _ = text
    assert prompts.places(tokenizer, prompt, phrase) == places
    known = [place for run in places for place in run if phrase in tokenizer.index]
    row = [token for token, _ in prompts.tokens(tokenizer, prompt)]
    assert all(row[place] == tokenizer.index[phrase] for place in known)
