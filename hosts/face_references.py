"""From pictures of one person to a face embedding: faces found, cut out, described, compared."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..methods.crops import Window, resample
from ..methods.pva import FaceEmbedding
from .faces import CROP, FaceModel

log = logging.getLogger("mannequin")

MOST, SMALLEST = 16, 32
CLIP_CROP, FINEST = 224, 512
FLAT = 0.01  # standard deviation of a picture that shows nothing
FIND, WHOLE = "find", "whole picture"
ADVICE = (
    "Give a picture with one visible face, or crop to the face yourself and set find_face to "
    f'"{WHOLE}". The finder that ships knows rendered people only and is not to be trusted on '
    "photographs."
)


def encode(
    model: FaceModel,
    images: Tensor,
    find: str = FIND,
    clip_vision: Any = None,
    more: FaceEmbedding | None = None,
) -> tuple[FaceEmbedding, str]:
    """The embedding of one person, and what is to be said about the references.

    images: [R, H, W, 3 or 4], 0..1. find: FIND cuts the face out, WHOLE takes the picture as a face
    crop. The crops are kept as large as the pictures show them, FINEST pixels at most, for tuning
    on them. clip_vision: ComfyUI's CLIP_VISION; its patch tokens are then the vectors (IP-Adapter's
    plus files), otherwise the face network's. more: earlier references of the same person, which
    come first. Raises ValueError for more than MOST references, for pictures smaller than SMALLEST
    pixels or of one colour, and for pictures that do not show exactly one face.
    """
    images = images[..., :3].float().cpu()
    before = 0 if more is None else len(more.vectors)
    if not 1 <= before + len(images) <= MOST:
        raise ValueError(
            f"Expected 1 to {MOST} references; got {before + len(images)}. Choose the clearest "
            "ones, from different sides."
        )
    shots = [_shot(model, one, k, find) for k, one in enumerate(images, before + 1)]
    side = CROP if clip_vision is None else CLIP_CROP
    seen, _ = _crops(shots, side)
    describe = model.embed if clip_vision is None else partial(_tokens, clip_vision)
    vectors, mirrored = (_usual(describe(p)) for p in (seen, seen.flip(2)))
    source = model.name if clip_vision is None else f"clip-vision-{vectors.shape[-1]}"
    kept = min(FINEST, max(side, *(math.ceil(shot.side) for shot in shots)))
    made = FaceEmbedding(vectors, mirrored, source, *map(_usual, _crops(shots, kept)))
    if more is not None:
        made = _join(more, made)
    notes = [s.note for s in shots if s.note] + _strangers(model, made.pictures)
    for note in notes:
        log.warning("Face Encoder: %s", note)
    said = [f"{len(made.vectors)} reference(s), described by {source}.", *notes]
    return made, "\n".join(said)


@dataclass(frozen=True)
class _Shot:
    """A reference [H, W, 3], the square of it that shows the head, the face's mask [H, W], and
    what is odd about it.
    """

    picture: Tensor
    window: Window
    face: Tensor
    note: str

    @property
    def side(self) -> float:
        """Of the square, in pixels."""
        return self.window[2] - self.window[0]


def _crops(shots: Sequence[_Shot], side: int) -> tuple[Tensor, Tensor]:
    """The squares [R, side, side, 3] and the faces' masks in them [R, side, side]."""
    pictures = [resample(s.picture.movedim(-1, 0), s.window, side, side) for s in shots]
    faces = [resample(s.face, s.window, side, side) for s in shots]
    return torch.stack(pictures).movedim(1, -1).clamp(0, 1), torch.stack(faces).clamp(0, 1)


def _shot(model: FaceModel, picture: Tensor, k: int, find: str) -> _Shot:
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"Reference {k} is too small: expected at least {SMALLEST}x{SMALLEST} pixels; got "
            f"{width}x{height}. Give a larger picture of the face."
        )
    if not picture.isfinite().all() or picture.std((0, 1)).max() < FLAT:
        raise ValueError(
            f"Reference {k} shows nothing: it has one colour all over. Give a picture of the "
            "person's face."
        )
    found = model.find(picture)
    if find == WHOLE:
        half, x, y = max(height, width) / 2, width / 2, height / 2
        mask = found[0].mask if len(found) == 1 else torch.ones(height, width)
        return _Shot(picture, (x - half, y - half, x + half, y + half), mask, "")
    if len(found) != 1:
        places = ", ".join("{}, {} to {}, {}".format(*face.box) for face in found)
        raise ValueError(
            f"Reference {k} shows no face that the finder knows: expected exactly one. {ADVICE}"
            if not found
            else f"Reference {k} shows {len(found)} faces (at {places}): expected exactly one, of "
            f"one person. {ADVICE}"
        )
    (face,) = found
    note = ""
    if face.side < SMALLEST:
        note = (
            f"The face in reference {k} is small, {face.side:.0f} pixels from hair to neck: what "
            "is not seen cannot be kept. A larger picture is better."
        )
    return _Shot(picture, face.window, face.mask, note)


def _tokens(clip_vision: Any, pictures: Tensor) -> Tensor:
    """Patch tokens [R, T, D] as IP-Adapter's plus files want them."""
    return clip_vision.encode_image(pictures)["penultimate_hidden_states"].float().cpu()


def _usual(x: Tensor) -> Tensor:
    """A copy that autograd may use later, also when the workflow runs in inference mode."""
    with torch.inference_mode(False):
        return x.clone()


def _join(first: FaceEmbedding, second: FaceEmbedding) -> FaceEmbedding:
    if first.source != second.source:
        raise ValueError(
            f"Expected more references described by {second.source}; got {first.source}. Use the "
            "same face model, and the same CLIP Vision or none, in both Face Encoders."
        )
    side = max(first.pictures.shape[1], second.pictures.shape[1])
    joint = {
        n: torch.cat([getattr(f, n) for f in (first, second)]) for n in ("vectors", "mirrored")
    }
    for name in ("pictures", "faces"):
        joint[name] = torch.cat([_as_large(getattr(f, name), side) for f in (first, second)])
    return FaceEmbedding(source=first.source, **joint)


def _as_large(squares: Tensor, side: int) -> Tensor:
    """[R, S, S] or [R, S, S, 3] scaled to a side."""
    if squares.shape[1] == side:
        return squares
    x = squares.unsqueeze(-1) if squares.ndim == 3 else squares
    x = F.interpolate(x.movedim(-1, 1), (side, side), mode="bilinear").movedim(1, -1)
    return x.view(*x.shape[:3], *squares.shape[3:])


def spread(model: FaceModel, pictures: Tensor) -> Tensor:
    """Cosines between the face network's vectors of crops [R, H, W, 3], each with each: [R, R]."""
    vectors = F.normalize(model.embed(pictures)[:, 0], dim=-1)
    return vectors @ vectors.mT


def _strangers(model: FaceModel, pictures: Tensor) -> list[str]:
    """A warning where two references are less alike than two pictures of one person are."""
    cosine = spread(model, pictures).fill_diagonal_(1)
    lowest = float(cosine.min())
    if lowest >= model.alike:
        return []
    a, b = divmod(int(cosine.argmin()), len(cosine))
    return [
        f"References {a + 1} and {b + 1} may show different people: the least alike two have a "
        f"cosine of {lowest:.2f}, below {model.alike:.2f}. Take out who does not belong."
    ]
