"""Scenes and faces with subjects bound to the words of their captions, as training batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...methods.pva import FaceEmbedding
from ...methods.routes import Bound, Subject
from ..people import phrases
from ..people.portraits import FACES
from .inpaint_data import Pool, box_of, grow, paint_region
from .pva_tiny import MIRRORED, MOST_REFERENCES, face_region
from .scene_data import ScenePool

EMBEDDING = "mannequin-tiny-face"
NOUNS = ("man", "woman", "person")
PLAIN, LEFT_OUT = 0.5, 0.05  # shares: nothing said but who there is, a person who is no subject
MASKED = 0.2  # of the pictures whose subjects come with masks
EVERYTHING, PEOPLE = 0.35, 0.45  # what is painted; as the base was taught otherwise
BOX = 0.3  # of the people to be painted, as boxes
GROWN = (2, 9)  # pixels around them


@dataclass
class Scenes:
    """A training batch: picture [B, H, W, 3], 0..1; region [B, H, W], 1 where it is painted; masks
    [B, S, H, W] of the subjects and present [B, S]; prompts; who is bound to which tokens.
    """

    picture: Tensor
    region: Tensor
    masks: Tensor
    present: Tensor
    prompts: list[str]
    bound: list[list[Bound]]


def embedding_of(vectors: Tensor) -> FaceEmbedding:
    """Face vectors [R, D] as a subject carries them; there are no pictures to draw."""
    nothing = vectors.new_zeros(0)
    return FaceEmbedding(vectors.unsqueeze(1), vectors.unsqueeze(1), EMBEDDING, nothing, nothing)


def other_pictures(vectors: Tensor, portrait: int, rng: np.random.Generator) -> Tensor:
    """The vectors [R, D] of 1 to MOST_REFERENCES other pictures of the person in a portrait, some
    mirrored. vectors: [N, 2, D] of all portraits and of their mirror images.
    """
    person, own = divmod(portrait, FACES)
    others = [i for i in range(FACES) if i != own]
    picked = rng.permutation(others)[: int(rng.integers(1, MOST_REFERENCES + 1))]
    sides = (rng.random(len(picked)) < MIRRORED).astype(int)
    return vectors[person * FACES + picked, sides]


def noun_places(tokenizer: Any, prompt: str) -> list[tuple[str, int]]:
    """Every person's word in a caption and its token, in order; what does not fit is left out."""
    words = tokenizer.split(prompt)[: tokenizer.length - 2]
    return [(word, place + 1) for place, word in enumerate(words) if word in NOUNS]


def plain_caption(people: Sequence[dict], place: str | None) -> str:
    """Who there is, and nothing of what they look like; place: the backdrop of a scene, None for a
    face alone.
    """
    said = " beside ".join(f"a {phrases.noun(facts)}" for facts in people)
    if place is None:
        return f"the face of {said}"
    return f"a scene of {said}, a {place.removeprefix('soft ')} background"


def draw_scenes(
    pool: ScenePool, count: int, vectors: Tensor, tokenizer: Any, rng: np.random.Generator
) -> Scenes:
    """Scenes of one to three people; now and then one of several is nobody's subject, and then is
    background like any other. In a share of the scenes all subjects come with masks.
    """
    which = rng.integers(len(pool), size=count)
    images, owners = pool.take(torch.from_numpy(which))
    rows = []
    for index, owner in zip(which.tolist(), owners, strict=True):
        plan, people = pool.plan(index), pool.people(index)
        plain = rng.random() < PLAIN
        prompt = plain_caption(people, plan.place.kind) if plain else pool.prompt(index, rng)
        masks = [(owner == k + 1).float() for k in range(len(people))]
        kept = [rng.random() >= LEFT_OUT for _ in people]
        kept[int(rng.integers(len(people)))] = True
        rows.append((prompt, plan.portraits, masks, kept))
    regions = [region_of(owner, "scene", rng) for owner in owners]
    return _batch(images, regions, rows, vectors, tokenizer, rng)


def draw_faces(
    pool: Pool, count: int, vectors: Tensor, tokenizer: Any, rng: np.random.Generator
) -> Scenes:
    """Portraits, each of one subject."""
    which = rng.integers(len(pool), size=count)
    images, labels = pool.take(torch.from_numpy(which))
    rows = []
    for index, label in zip(which.tolist(), labels, strict=True):
        plain = rng.random() < PLAIN
        said = plain_caption([pool.facts[index]], None) if plain else pool.prompt(index, rng)
        rows.append((said, (index,), [(label > 0).float()], [True]))
    regions = [region_of(label, "face", rng) for label in labels]
    return _batch(images, regions, rows, vectors, tokenizer, rng)


def region_of(label: Tensor, domain: str, rng: np.random.Generator) -> Tensor:
    """What is painted, [H, W]: everything, all the people, otherwise as the base was taught."""
    chance = rng.random()
    if chance < EVERYTHING:
        return torch.ones(label.shape)
    if chance < EVERYTHING + PEOPLE:
        owner = label if domain == "scene" else (label > 0).to(label)
        return around_people(owner, int(rng.integers(*GROWN)), rng.random() < BOX)
    return face_region(label, rng) if domain == "face" else paint_region(label, domain, rng)


def around_people(owner: Tensor, pixels: int, box: bool) -> Tensor:
    """Everybody in owner [H, W] and the pixels around them, or each one's box; 1 or 0, [H, W]."""
    if not box:
        return grow((owner > 0).float(), pixels)
    boxes = [box_of(owner == k, pixels) for k in owner.unique() if k]
    return torch.stack(boxes).amax(0).float() if boxes else torch.ones(owner.shape)


def _batch(
    images: Tensor,
    regions: list[Tensor],
    rows: list[tuple[str, tuple[int, ...], list[Tensor], list[bool]]],
    vectors: Tensor,
    tokenizer: Any,
    rng: np.random.Generator,
) -> Scenes:
    """Binds every kept person of each row (prompt, portraits, masks, kept) to their word."""
    most = max(len(portraits) for _, portraits, _, _ in rows)
    masks = torch.zeros(len(rows), most, *images.shape[1:3])
    present = torch.zeros(len(rows), most)
    shown = rng.random(len(rows)) < MASKED
    bound: list[list[Bound]] = []
    for row, (prompt, portraits, where, kept) in enumerate(rows):
        found: list[Bound] = []
        people = zip(portraits, where, kept, noun_places(tokenizer, prompt), strict=False)
        for portrait, mask, keep, (word, token) in people:
            if keep:
                faces = embedding_of(other_pictures(vectors, portrait, rng))
                masks[row, len(found)], present[row, len(found)] = mask, 1
                found.append(Bound(Subject(word, faces, mask if shown[row] else None), (token,)))
        bound.append(found)
    prompts = [prompt for prompt, *_ in rows]
    most = max(map(len, bound))
    return Scenes(
        images.float() / 255,
        torch.stack(regions),
        masks[:, :most],
        present[:, :most],
        prompts,
        bound,
    )
