import pytest
import torch

from mannequin.hosts.text import BEGIN, END, PAD, UNKNOWN, WordTokenizer, make_text

CONFIG = {
    "words": ["a", "face", "three-quarter", "short", "blond", "hair", "<new1>"],
    "aliases": {"blonde": "blond", "an": "a"},
    "length": 8,
    "width": 24,
    "layers": 2,
    "heads": 3,
}


@pytest.fixture
def text():
    torch.manual_seed(0)
    tokenizer, encoder = make_text(CONFIG)
    return tokenizer, encoder.eval()


def test_a_prompt_is_split_into_known_words(text):
    tokenizer, _ = text
    assert tokenizer.split("An FACE, <new1>: Short-Blonde hair; three-quarter") == [
        "a",
        "face",
        "<new1>",
        "short",
        "blond",
        "hair",
        "three-quarter",
    ]


def test_tokens_are_framed_padded_and_cut(text):
    tokenizer, _ = text
    index = tokenizer.index
    short, empty, long = tokenizer(["a face", "", "hair " * 20])
    assert short.tolist() == [BEGIN, index["a"], index["face"], END] + [PAD] * 4
    assert empty.tolist() == [BEGIN, END] + [PAD] * 6
    assert long.tolist() == [BEGIN] + [index["hair"]] * 6 + [END]


def test_unknown_words_are_named_and_get_their_own_token(text):
    tokenizer, _ = text
    assert tokenizer.unknown("a purple face-lift") == ["purple", "lift"]
    assert tokenizer(["purple"])[0, 1] == UNKNOWN


def test_an_alias_of_an_unknown_word_is_an_error():
    with pytest.raises(ValueError, match="purple"):
        WordTokenizer(["a"], {"violet": "purple"}, 8)


def test_padding_does_not_change_what_the_words_mean(text):
    tokenizer, encoder = text
    tokens = tokenizer(["a face"])
    before = encoder(tokens)
    with torch.no_grad():
        encoder.embed.weight[PAD] += 1
    after = encoder(tokens)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def test_the_order_of_words_matters(text):
    tokenizer, encoder = text
    one, other = encoder(tokenizer(["short hair", "hair short"]))
    assert not torch.allclose(one.mean(0), other.mean(0), atol=1e-4)


def test_a_learned_word_replaces_an_embedding(text):
    tokenizer, encoder = text
    tokens = tokenizer(["a <new1> face"])
    own = encoder.embed(tokens)
    assert torch.equal(encoder(tokens, own), encoder(tokens))
    other = own.clone()
    other[:, 2] = other[:, 2].flip(-1)
    assert not torch.allclose(encoder(tokens, other)[:, 1], encoder(tokens)[:, 1], atol=1e-4)
