"""Subjects and their words: which tokens mean whom, masks, and people between two people."""

import pytest
import torch

from mannequin.hosts.subjects import bind, morph, subject
from mannequin.methods.pva import FaceEmbedding

LENGTH = 9


class Host:
    """Finds words in a prompt that is split at blanks; the first token is the beginning."""

    @staticmethod
    def places(clip, prompt, phrase):
        words, wanted = prompt.lower().split(), phrase.split()
        return [
            tuple(range(i + 1, i + 1 + len(wanted)))
            for i in range(len(words))
            if words[i : i + len(wanted)] == wanted
        ]


class Clip:
    def tokenize(self, prompt):
        return prompt

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, LENGTH, 3), {"said": tokens}]]


def faces(seed, pictures=2, source="net"):
    vectors = torch.randn(pictures, 1, 4, generator=torch.Generator().manual_seed(seed))
    square = torch.full((pictures, 8, 8, 3), seed / 10)
    return FaceEmbedding(vectors, vectors.flip(-1), source, square, square[..., 0])


def chain(*words):
    people = ()
    for number, word in enumerate(words):
        people = subject(word, faces(number), None, people)
    return people


@pytest.mark.parametrize(
    ("words", "prompt", "tokens"),
    [
        (["woman", "man"], "a man beside a woman", [(5,), (2,)]),
        (["man"], "a man and the same man", [(2, 6)]),
        (["man", "man"], "a man beside a man and a man", [(2,), (5,)]),
        (["man", "old man"], "an old man beside a man", [(6,), (2, 3)]),
        (["Old  Man"], "an OLD man", [(2, 3)]),
    ],
)
def test_each_word_means_its_person(words, prompt, tokens):
    people = chain(*words)
    said, bound = bind(Host, Clip(), prompt, people)
    assert said[0][1] == {"said": prompt}
    assert [one.tokens for one in bound] == tokens
    assert [one.subject for one in bound] == list(people)
    assert {one.length for one in bound} == {LENGTH}


@pytest.mark.parametrize(
    ("words", "prompt", "message"),
    [
        (["cat"], "a man", "word 'cat' at least once in the prompt; .* not at all in 'a man'"),
        (["man", "man"], "a man", "'man' at least 2 times, for 2 subjects .* reads it 1 time"),
        (["man", "old man"], "an old man", "'man' at least once .* not at all"),
        (["woman"], "", "'woman' at least once"),
    ],
)
def test_a_word_that_the_prompt_lacks_is_named(words, prompt, message):
    with pytest.raises(ValueError, match=message):
        bind(Host, Clip(), prompt, chain(*words))


def test_people_come_in_the_order_of_the_chain():
    mask = torch.zeros(1, 6, 8)
    mask[:, 2:4] = 2.0
    first = subject(" young  woman ", faces(0), mask, ())
    both = subject("man", faces(1), None, first)
    assert [one.word for one in both] == ["young woman", "man"]
    assert both[0].mask.shape == (6, 8) and both[0].mask.max() == 1
    assert both[1].mask is None


@pytest.mark.parametrize(
    ("word", "mask", "message"),
    [
        ("  ", None, "Expected the word of the prompt that means this person"),
        ("man", torch.ones(2, 4, 4), "one mask for the subject 'man'; got 2"),
        ("man", torch.zeros(1, 4, 4), "mask of the subject 'man' is empty"),
    ],
)
def test_a_subject_that_cannot_be_is_named(word, mask, message):
    with pytest.raises(ValueError, match=message):
        subject(word, faces(0), mask, ())


def test_between_two_people():
    a, b = faces(1, 3), faces(2, 2)
    for share, whole in ((0.0, a), (1.0, b)):
        made = morph(a, b, share)
        torch.testing.assert_close(made.vectors, whole.vectors[:2])
        torch.testing.assert_close(made.mirrored, whole.mirrored[:2])
        assert torch.equal(made.pictures, whole.pictures[:2])
    middle = morph(a, b, 0.5).vectors
    length = (a.vectors[:2].norm(dim=-1) + b.vectors.norm(dim=-1)) / 2
    torch.testing.assert_close(middle.norm(dim=-1), length)
    mixed = (a.vectors[:2] + b.vectors) / 2
    torch.testing.assert_close(torch.cosine_similarity(middle, mixed, -1), torch.ones(2, 1))


def test_two_people_of_different_networks_do_not_mix():
    with pytest.raises(ValueError, match="described by one network; got net and clip"):
        morph(faces(0), faces(1, source="clip"), 0.5)
    with pytest.raises(ValueError, match=r"from 0 to 1; got 1\.5"):
        morph(faces(0), faces(1), 1.5)
