"""Subjects and their words: who is meant, and by which tokens of a prompt; on both hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..methods.pva import FaceEmbedding
from ..methods.routes import Bound, Subject


def bind(host: Any, clip: Any, prompt: str, subjects: Sequence[Subject]) -> tuple[Any, list[Bound]]:
    """The prompt's CONDITIONING, and every subject with the positions of its word in it.

    A word that one subject has means that subject wherever it stands. Subjects of the same word are
    its occurrences from left to right; further occurrences mean nobody. A longer word comes first:
    "old man" is not "man". Raises ValueError for a word that the prompt does not say, or not as
    often as there are subjects.
    """
    said = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    length = said[0][0].shape[1]
    words = [_plain(subject) for subject in subjects]
    order = sorted(dict.fromkeys(words), key=lambda word: -len(word.split()))
    taken: set[int] = set()
    tokens: list[tuple[int, ...]] = [()] * len(subjects)
    for word in order:
        found = [run for run in host.places(clip, prompt, word) if not taken.intersection(run)]
        same = [number for number, other in enumerate(words) if other == word]
        if len(found) < len(same):
            raise ValueError(_missing(subjects[same[0]].word, prompt, len(found), len(same)))
        if len(same) == 1:
            tokens[same[0]] = sum(found, ())
        else:
            for number, run in zip(same, found, strict=False):
                tokens[number] = run
        taken.update(*found)
    bound = zip(subjects, tokens, strict=True)
    return said, [Bound(subject, places, length) for subject, places in bound]


def _plain(subject: Subject) -> str:
    return " ".join(subject.word.lower().split())


def _missing(word: str, prompt: str, found: int, wanted: int) -> str:
    asked = f"{wanted} times, for {wanted} subjects" if wanted > 1 else "once"
    came = f"{found} time(s)" if found else "not at all"
    return (
        f"Expected the word {word!r} at least {asked} in the prompt; the text encoder reads it "
        f"{came} in {prompt!r}. Write it into the prompt, or change the subject's word."
    )


def subject(
    word: str, faces: FaceEmbedding, mask: Tensor | None, others: Sequence[Subject]
) -> tuple[Subject, ...]:
    """One more subject after the others. mask: ComfyUI's MASK [1, H, W] or [H, W].

    Raises ValueError for an empty word, several masks, and a mask without a person in it.
    """
    word = " ".join(word.split())
    if not word:
        raise ValueError(
            "Expected the word of the prompt that means this person, such as woman; got none."
        )
    if mask is not None:
        if mask.ndim == 3 and len(mask) > 1:
            raise ValueError(
                f"Expected one mask for the subject {word!r}; got {len(mask)}. Give each subject "
                "a mask of its own."
            )
        mask = mask.reshape(mask.shape[-2:]).float().clamp(0, 1)
        if not mask.any():
            raise ValueError(
                f"The mask of the subject {word!r} is empty: paint where the person is to be "
                "(white), or connect none."
            )
    return *others, Subject(word, faces, mask)


def morph(first: FaceEmbedding, second: FaceEmbedding, share: float) -> FaceEmbedding:
    """Somebody between two people (our design): their pictures' vectors are mixed pair by pair, as
    many as both have, and keep the length between. share: 0 is the first person, 1 the second.

    Raises ValueError when other networks described them, and for a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"Expected a share of the second person from 0 to 1; got {share}.")
    if (first.source, first.vectors.shape[1:]) != (second.source, second.vectors.shape[1:]):
        raise ValueError(
            f"Expected two people described by one network; got {first.source} and "
            f"{second.source}. Use the same face model, and the same CLIP Vision or none, in both "
            "Face Encoders."
        )
    count = min(len(first.vectors), len(second.vectors))
    nearer = second if share > 0.5 else first

    def between(a: Tensor, b: Tensor) -> Tensor:
        mixed = a[:count].lerp(b[:count], share)
        lengths = (x[:count].norm(dim=-1, keepdim=True) for x in (a, b))
        wanted = next(lengths).lerp(next(lengths), share)
        return mixed * (wanted / mixed.norm(dim=-1, keepdim=True).clamp_min(1e-8))

    return replace(
        nearer,
        vectors=between(first.vectors, second.vectors),
        mirrored=between(first.mirrored, second.mirrored),
        pictures=nearer.pictures[:count],
        faces=nearer.faces[:count],
    )
