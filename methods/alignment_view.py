"""Sheets of what the recurrent aligner did: the source after every iteration, and how sure it was.

Our design; RePoseDM (arXiv 2310.16074) shows none.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow_view import heat, label
from .framing import fit_picture
from .reposedm import AlignmentRecord

TILE = 192  # least pixels on the shorter side of a tile


def sheet(record: AlignmentRecord, image: Tensor, references: Tensor) -> Tensor:
    """Results [B, H, W, 3] and references [R, H', W', 3], 0..1 -> [B, 2 R h, (1 + K) w, 3].

    Two rows of tiles for each reference: itself and what each of K iterations made of it; below
    them the result, and each iteration's confidence with its mean, black 0 over orange to white 1.
    Raises ValueError when nothing was recorded, or for pictures of another run.
    """
    image, references = image.cpu().float(), references[..., :3].cpu().float()
    scale = max(1, math.ceil(TILE / min(image.shape[1:3])))
    size = tuple(n * scale for n in image.shape[1:3])
    moved, sure = record.pictures(references, size)
    if len(image) % moved.shape[1]:
        raise ValueError(
            f"The alignment belongs to {moved.shape[1]} picture(s); got {len(image)}. Connect the "
            "result of the sampling run that used the aligner."
        )
    which = torch.arange(len(image)) % moved.shape[1]
    moved, sure = moved[:, which], sure[:, which]
    result = F.interpolate(image.movedim(-1, 1), size, mode="nearest").movedim(1, -1)
    rows = []
    for r, reference in enumerate(references):
        plain = fit_picture(reference[None], *size).expand(len(image), -1, -1, -1)
        above, below = [_named(plain, "source")], [_named(result, "result")]
        for k, (picture, confidence) in enumerate(zip(moved[:, :, r], sure[:, :, r], strict=True)):
            above.append(_named(picture, f"{k + 1}"))
            each = [_named(heat(one), f"{float(one.mean()):.2f}") for one in confidence.split(1)]
            below.append(torch.cat(each))
        rows += [torch.cat(above, 2), torch.cat(below, 2)]
    return torch.cat(rows, 1).clamp(0, 1)


def _named(tiles: Tensor, words: str) -> Tensor:
    return label(tiles.clamp(0, 1), (6, 4), words)
