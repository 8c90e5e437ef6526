"""The pictures of the help pages of the inpainting model and of PVA's nodes, painted by what ships.

`python -m mannequin.lab.help_pictures_pva` draws them, in a minute or two.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..hosts.adapters import read_adapter, write_adapter
from ..hosts.face_references import encode
from ..methods.person_adapter import PersonAdapter
from ..methods.personalize import TEMPLATE, Personalization, Tuning
from ..methods.pva import FaceEmbedding
from .benchmarks.face import FILES
from .benchmarks.face_painting import Painter, load_painter
from .help_pictures import PAGES, given, strip, written
from .inpaint_workflows import SEED, WORDS

PROMPTS = {
    "a smile, sunglasses": WORDS,
    "young man, a full beard": "the face of a young man, light skin, a full beard",
    "older, very dark skin": "the face of an older woman, very dark skin, short grey hair",
}
REFERENCES = {
    "portrait_a": ("portrait_a_second", "portrait_a_third"),
    "portrait_b": ("portrait_b", "portrait_b_second"),
}
STRENGTHS = (0.0, 0.5, 1.0, 1.5)
TUNED = (0, 10, 40)
WIDE = 760


class Studio:
    """One picture with one hole, and who may be painted into it."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.picture = given("portrait_a")[None]
        self.mask = (given("portrait_a_face_mask")[None, ..., 0] > 0.5).float()
        self.hole = torch.lerp(self.picture, torch.tensor(0.5), self.mask.unsqueeze(-1))[0]

    def faces(self, person: str) -> FaceEmbedding:
        pictures = torch.stack([given(name) for name in REFERENCES[person]])
        return encode(self.painter.faces, pictures)[0]

    def paint(
        self, prompt: str = TEMPLATE, who: Tensor | None = None, strength: float = 1.0
    ) -> Tensor:
        """[H, W, 3]; who: the vectors of a person."""
        by = () if who is None else (self.painter.pva([who], strength=strength),)
        return self.painter.paint(self.picture, self.mask, [prompt], SEED, *by)[0]

    def paint_tuned(self, adapter: PersonAdapter) -> Tensor:
        by, word = self.painter.pva([adapter.vectors], adapter), adapter.word
        return self.painter.paint(self.picture, self.mask, [TEMPLATE], SEED, by, word=word)[0]


def load_inpaint_model_page(studio: Studio) -> Image.Image:
    """The same hole, filled in the words of three prompts."""
    painted = {caption: studio.paint(prompt) for caption, prompt in PROMPTS.items()}
    return strip({"a picture with a hole": studio.hole, **painted})


def load_person_adapter_page(studio: Studio) -> Image.Image:
    """One adapter paints whoever the references show."""
    tiles: dict[str, Image.Image | Tensor] = {"a picture with a hole": studio.hole}
    for name, person in zip(("one person", "another"), REFERENCES, strict=True):
        tiles[f"a reference: {name}"] = given(REFERENCES[person][0])
        tiles[f"painted as {name}"] = studio.paint(who=studio.faces(person).vectors)
    return strip(tiles)


def parallel_visual_attention_page(studio: Studio) -> Image.Image:
    """The same seed at four strengths."""
    who = studio.faces("portrait_a").vectors
    painted = {f"strength {s:g}": studio.paint(who=who, strength=s) for s in STRENGTHS}
    reference = given(REFERENCES["portrait_a"][0])
    return strip({"a reference": reference, "a picture with a hole": studio.hole, **painted})


def tune(studio: Studio) -> tuple[dict[str, Tensor], PersonAdapter]:
    """What is painted as the person learns, and the personal adapter."""
    painter, faces = studio.painter, studio.faces("portrait_a")
    advised = painter.adapter.config.get("tuning", {})
    painted = {}
    with painter.lent() as base:
        work = Personalization(painter.adapter, faces, base, Tuning(max(TUNED), **advised))
        for steps in TUNED:
            while work.done < steps:
                work.step()
            painted[f"after {steps} steps"] = studio.paint_tuned(work.result())
        return painted, work.result()


def personalize_face_page(studio: Studio, painted: dict[str, Tensor]) -> Image.Image:
    """What is painted as the person learns."""
    reference = given(REFERENCES["portrait_a"][0])
    return strip({"a reference": reference, "a picture with a hole": studio.hole, **painted})


def save_person_adapter_page(adapter: PersonAdapter) -> Image.Image:
    """What the file of a personal adapter says, read back from a saved one."""
    said = {
        "consent": "this person does not exist",
        "note": "a rendered person",
        "saved": date.today().isoformat(),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ann.safetensors"
        write_adapter(path, replace(adapter, consent=said))
        lines = read_adapter(path).about().split("\n")
    return written([path.name, *(f"  {line}" for line in lines)], WIDE)


def draw(base: Path, adapter: Path, faces: Path) -> None:
    """Writes one picture per help page."""
    studio = Studio(load_painter(base, adapter, faces))
    painted, personal = tune(studio)
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("load_inpaint_model", load_inpaint_model_page(studio)),
        ("load_person_adapter", load_person_adapter_page(studio)),
        ("parallel_visual_attention", parallel_visual_attention_page(studio)),
        ("personalize_face", personalize_face_page(studio, painted)),
        ("save_person_adapter", save_person_adapter_page(personal)),
    ):
        picture.save(PAGES / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    draw(*(map(Path, sys.argv[1:]) if len(sys.argv) > 1 else FILES))
