"""Somebody's pictures as `mannequin train pva` looks at them: faces found, described, drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...hosts.faces import CROP, load_face_model
from ...methods.crops import Window, resample
from ...methods.personalize import TEMPLATE
from .inpaint_data import free_form
from .pva_folder import Person, first_line, open_picture

MOST_REFERENCES = 5
TEMPLATE_SHARE, MIRRORED, BOXES = 0.5, 0.25, 0.5
CENTRED = (0.2, 0.2, 0.8, 0.8)  # where a face is taken to be when none is found
MARGIN = 0.1  # by which a face's box may grow, of the picture's side
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_SPREAD = (0.26862954, 0.26130258, 0.27577711)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Describer:
    """name: of the network, by which adapters know it. side: of the crops it looks at, in pixels.
    embed: crops [R, side, side, 3], 0..1 -> [R, T, D]. find: the faces of a picture, or None.
    """

    name: str
    side: int
    embed: Callable[[Tensor], Tensor]
    find: Callable[[Tensor], list] | None


def open_describer(faces: Path | None, clip: Path | None, device: torch.device) -> Describer:
    """What turns faces into vectors: a face model's file, or a folder of a CLIP vision model, whose
    faces the face model finds when it is given too. Raises ValueError when there is neither.
    """
    if faces is None and clip is None:
        raise ValueError(
            "Expected --faces FILE (such as mannequin-tiny-face.safetensors) or --clip-vision "
            "FOLDER (a CLIPVisionModel as transformers saves it); got neither."
        )
    model = None if faces is None else load_face_model(faces)
    if clip is None:
        return Describer(model.name, CROP, model.embed, model.find)
    return _clip_describer(clip, device, None if model is None else model.find)


def _clip_describer(
    folder: Path, device: torch.device, find: Callable[[Tensor], list] | None
) -> Describer:
    """The penultimate layer's tokens, as IP-Adapter's plus files want them."""
    from transformers import CLIPVisionModel

    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: expected a folder with the config.json and the weights of a "
            "CLIPVisionModel. Nothing is downloaded: bring it yourself."
        )
    model = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    model.to(device).requires_grad_(False).eval()
    mean, spread = (torch.tensor(n).view(1, 3, 1, 1) for n in (CLIP_MEAN, CLIP_SPREAD))

    @torch.inference_mode()
    def embed(pictures: Tensor) -> Tensor:
        seen = ((pictures.movedim(-1, 1) - mean) / spread).to(device)
        return model(pixel_values=seen, output_hidden_states=True).hidden_states[-2].cpu()

    name = f"clip-vision-{model.config.hidden_size}"
    return Describer(name, model.config.image_size, embed, find)


@dataclass(frozen=True)
class Shot:
    """A picture as it is trained on: its square, where in it the face is, what it shows in words.

    window: in pixels of the picture. face: left, top, right, bottom in the window, 0..1.
    """

    path: Path
    window: Window
    face: Box
    caption: str

    def picture(self, side: int) -> Tensor:
        """[side, side, 3], 0..1."""
        return self.of(open_picture(self.path), side)

    def of(self, whole: Tensor, side: int) -> Tensor:
        seen = resample(whole.movedim(-1, 0), self.window, side, side)
        return seen.movedim(0, -1).clamp(0, 1)


@dataclass
class Batch:
    """picture [B, 3, S, S], -1..1; region [B, 1, S, S], 1 where it is to be painted; prompts;
    vectors [B, R, T, D] of the references and which of them are there, present [B, R].
    """

    picture: Tensor
    region: Tensor
    prompts: list[str]
    vectors: Tensor
    present: Tensor


@dataclass
class Album:
    """Everybody's pictures, described.

    shots: per person. vectors: per person [n, 2, T, D], of the pictures and of their mirror images,
    in half precision because they stay in memory (CLIP ViT-H: 1.3 MB a picture). found: the number
    of pictures in which the finder saw one face.
    """

    shots: list[list[Shot]]
    vectors: list[Tensor]
    found: int

    def __len__(self) -> int:
        return sum(map(len, self.shots))

    @property
    def dimension(self) -> int:
        return self.vectors[0].shape[-1]

    def draw(self, rows: int, side: int, rng: np.random.Generator) -> Batch:
        """One picture each of `rows` people, with 1 to MOST_REFERENCES others of the same person,
        or as many as there are.
        """
        pictures, regions, prompts, chosen = [], [], [], []
        for _ in range(rows):
            who = int(rng.integers(len(self.shots)))
            shots = self.shots[who]
            target, *others = rng.permutation(len(shots))
            others = others[: int(rng.integers(1, MOST_REFERENCES + 1))]
            mirrored = (rng.random(len(others)) < MIRRORED).astype(int)
            chosen.append(self.vectors[who][others, mirrored].float())
            shot = shots[target]
            pictures.append(shot.picture(side).movedim(-1, 0) * 2 - 1)
            regions.append(draw_region(shot.face, side, rng))
            template = not shot.caption or rng.random() < TEMPLATE_SHARE
            prompts.append(TEMPLATE if template else shot.caption)
        most = max(map(len, chosen))
        vectors = torch.zeros(rows, most, *chosen[0].shape[1:])
        present = torch.zeros(rows, most, dtype=torch.bool)
        for row, one in enumerate(chosen):
            vectors[row, : len(one)], present[row, : len(one)] = one, True
        return Batch(
            torch.stack(pictures), torch.stack(regions).unsqueeze(1), prompts, vectors, present
        )


def draw_region(face: Box, side: int, rng: np.random.Generator) -> Tensor:
    """What is to be painted, [S, S] 0 or 1: the face's box, somewhat grown, or strokes."""
    if rng.random() >= BOXES:
        return free_form(side, side, rng)
    grown = rng.uniform(0, MARGIN)
    low = [max(0, int((edge - grown) * side)) for edge in face[:2]]
    high = [max(a + 1, round((b + grown) * side)) for a, b in zip(low, face[2:], strict=True)]
    out = torch.zeros(side, side)
    out[low[1] : high[1], low[0] : high[0]] = 1
    return out


def describe(people: Sequence[Person], describer: Describer, whole: bool = False) -> Album:
    """Finds and describes every face. whole: the pictures are face crops already.

    Raises ValueError that names every picture which cannot be used.
    """
    album, problems = Album([], [], 0), []
    for person in people:
        shots, crops = [], []
        for path in person.files:
            try:
                picture = open_picture(path)
            except ValueError as error:
                problems.append(str(error))
                continue
            window, face, seen = _framing(picture, describer.find, whole)
            album.found += seen
            shots.append(Shot(path, window, face, first_line(path.with_suffix(".txt"))))
            crops.append(shots[-1].of(picture, describer.side))
        if not problems:
            both = [torch.stack([c, c.flip(1)]) for c in crops]
            album.vectors.append(torch.stack([describer.embed(c).half() for c in both]))
            album.shots.append(shots)
    if problems:
        raise ValueError("\n".join(problems))
    return album


def _framing(
    picture: Tensor, find: Callable[[Tensor], list] | None, whole: bool
) -> tuple[Window, Box, bool]:
    """The square to look at, the face's box in it, and whether one face was found. With no face, or
    several, the middle of the picture is taken.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    window = (left, top, left + side, top + side)
    found = find(picture) if find else []
    if len(found) != 1:
        return window, CENTRED, False
    if not whole:
        window = found[0].window
    side = window[2] - window[0]
    inside = ((edge - window[i % 2]) / side for i, edge in enumerate(found[0].box))
    return window, tuple(min(max(edge, 0.0), 1.0) for edge in inside), True
