"""Words change what they say and leave the person: edits of held-out people's faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...methods.person_adapter import WORD
from ..training.attributes import AttributeReader
from ..training.inpaint_data import grow
from .face_painting import Painter, People

COUNT, BATCH = 48, 16
MEN = "male"
EDITS: dict[str, tuple[str, tuple[str, str], str | None]] = {
    # what is said: (words, (attribute, value), for whom)
    "laugh": ("laughing", ("expression", "laugh"), None),
    "eyes closed": ("eyes closed", ("expression", "eyes closed"), None),
    "glasses": ("black round glasses", ("glasses", "round glasses"), None),
    "sunglasses": ("sunglasses", ("glasses", "sunglasses"), None),
    "beard": ("a full beard", ("beard", "full beard"), MEN),
    "moustache": ("a moustache", ("beard", "moustache"), MEN),
    "blond hair": ("long blond hair", ("hair_colour", "blond"), None),
    "black hair": ("short black hair", ("hair_colour", "black"), None),
}
HAIR = ("blond hair", "black hair")


def candidates(people: People, name: str) -> list[int]:
    """Up to COUNT people whose picture 0 does not show yet what is asked for."""
    _, (attribute, value), whom = EDITS[name]
    return [
        p
        for p in range(len(people))
        if people.facts[p][0][attribute] != value and whom in (None, people.facts[p][0]["gender"])
    ][:COUNT]


def region_of(people: People, rows: Sequence[int], name: str) -> Tensor:
    """The whole face; for hair everything around it too, [B, 64, 64]."""
    if name in HAIR:
        return torch.ones_like(people.faces[list(rows), 0])
    return torch.stack([grow(people.faces[p, 0], 4) for p in rows])


def edits(
    painter: Painter,
    people: People,
    reader: AttributeReader,
    likeness: Callable[[Tensor, Sequence[int]], Tensor],
    seed: int,
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, Tensor]]:
    """Figures, a row per edit, and pictures of the first: with the person's references and words,
    and with words alone (who it is said by age and gender).
    """
    rows: dict[str, dict[str, float]] = {}
    pictures: dict[str, Tensor] = {}
    for name, (words, (attribute, value), _) in EDITS.items():
        chosen = candidates(people, name)
        shown: dict[str, list[Tensor]] = {"": [], "_text_only": []}
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            picture, region = people.pictures[part, 0], region_of(people, part, name)
            whos = [_who(people.facts[p][0]) for p in part]
            vectors = [painter.vectors(people.pictures[p, 1:]) for p in part]
            pva = painter.pva(vectors, everywhere=True)
            prompts = [f"photo of a {WORD} person, {words}"] * len(part)
            shown[""].append(painter.paint(picture, region, prompts, seed, pva))
            prompts = [f"the face of {who}, {words}" for who in whos]
            shown["_text_only"].append(painter.paint(picture, region, prompts, seed))
        row: dict[str, float] = {"people": len(chosen)}
        for kind, parts in shown.items():
            painted = torch.cat(parts)
            read = reader.read(painted.movedim(-1, 1) * 2 - 1)
            row[f"accuracy{kind}"] = sum(r[attribute] == value for r in read) / len(read)
            row[f"id{kind}"] = float(likeness(painted, chosen).mean())
            pictures[f"{name}{', words' if kind else ''}"] = painted[:10]
        rows[name] = row
    figures = {
        f"{figure}{kind}": sum(r[f"{source}{kind}"] for r in rows.values()) / len(rows)
        for figure, source in (("attribute_accuracy", "accuracy"), ("attribute_id", "id"))
        for kind in ("", "_text_only")
    }
    return figures, rows, pictures


def _who(facts: dict) -> str:
    noun = {"male": "man", "female": "woman"}[facts["gender"]]
    return f"{'an' if facts['age'][0] in 'aeiou' else 'a'} {facts['age']} {noun}"
