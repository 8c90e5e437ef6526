"""Somebody's own pictures for `mannequin train pva`: a folder for each person.

FOLDER/PERSON/*.png, .jpg or .webp, two or more per person; a caption may lie beside a picture, in a
.txt file of its name, and what the person agreed to in PERSON/consent.txt.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
CONSENT = "consent.txt"
SMALLEST = 32
NAMED = 5  # people in a warning
SAID = 20  # different lines of consent that a file names


@dataclass(frozen=True)
class Person:
    """One folder: its pictures' files, and the first line of consent.txt or ""."""

    name: str
    files: tuple[Path, ...]
    consent: str


def read_people(folder: Path) -> tuple[list[Person], list[str]]:
    """The people of a folder, and warnings. Raises ValueError when there is nobody."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. Expected one with a folder for each person.")
    people, warnings = [], []
    for place in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
        files = pictures_in(place)
        if len(files) < 2:
            came = "one picture" if files else "no picture"
            warnings.append(
                f"{place.name} is left out: expected two pictures or more, one to paint and others "
                f"to look at; got {came} ({', '.join(ENDINGS)})."
            )
            continue
        people.append(Person(place.name, files, first_line(place / CONSENT)))
    unsaid = [person.name for person in people if not person.consent]
    if unsaid:
        more = f" and {len(unsaid) - NAMED} more" if len(unsaid) > NAMED else ""
        warnings.append(
            f"No {CONSENT} for {', '.join(unsaid[:NAMED])}{more}. Write into its first line who "
            "agreed to what; the adapter's file repeats it."
        )
    if not people:
        loose = len(pictures_in(folder))
        beside = f" {loose} pictures lie in {folder} itself." if loose else ""
        raise ValueError(
            f"{folder} holds nobody to learn from: expected FOLDER/PERSON/ with two pictures or "
            f"more ({', '.join(ENDINGS)}).{beside} " + " ".join(warnings)
        )
    return people, warnings


def pictures_in(place: Path) -> tuple[Path, ...]:
    return tuple(
        sorted(p for p in place.iterdir() if p.suffix.lower() in ENDINGS and p.name[0] != ".")
    )


def first_line(path: Path) -> str:
    """The first line that says something; "" where there is no file."""
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), "")


def consent_summary(people: Sequence[Person]) -> str:
    """What the people agreed to, each line with the number of those who said it."""
    counts = Counter(person.consent or f"no {CONSENT}" for person in people)
    said = [f"{line} ({count} of {len(people)} people)" for line, count in counts.most_common(SAID)]
    rest = len(counts) - len(said)
    return "; ".join(said) + (f"; and {rest} other lines" if rest else "")


def fingerprint(people: Sequence[Person]) -> str:
    """Changes with the pictures' and captions' names and sizes."""
    seen = hashlib.blake2b(digest_size=8)
    for path in (f for person in people for file in person.files for f in _with_caption(file)):
        seen.update(f"{path.parent.name}/{path.name}:{path.stat().st_size}\n".encode())
    return seen.hexdigest()


def _with_caption(file: Path) -> list[Path]:
    caption = file.with_suffix(".txt")
    return [file, caption] if caption.is_file() else [file]


def open_picture(path: Path) -> Tensor:
    """[H, W, 3], 0..1, the right way up. Raises ValueError for what is broken or too small."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({error}). Save it again, or take it out."
        ) from error
    if min(picture.size) < SMALLEST:
        raise ValueError(
            f"{path} is too small: expected at least {SMALLEST}x{SMALLEST} pixels; got "
            f"{picture.width}x{picture.height}. Give a larger picture, or take it out."
        )
    return torch.from_numpy(np.array(picture)).float() / 255
