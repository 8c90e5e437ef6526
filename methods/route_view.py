"""Pictures of routes: who was painted where, by which layers, and when, for the eye.

Every view is scaled up so that its shorter side has at least 512 pixels.
"""

from __future__ import annotations

import colorsys
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow_view import MIN_SIDE, heat, label
from .routes import RouteRecord, resample

FAINT = 0.35  # how much of the picture is seen below a map
VEIL = 0.6  # how much of a subject's colour covers the picture where the share is 1
MOST_STEPS = 8
COLOURS = torch.tensor([colorsys.hsv_to_rgb(h, 0.85, 1.0) for h in (0.08, 0.58, 0.92, 0.35, 0.75)])
EVERYBODY = "everybody"
PEOPLE, LAYERS, TIME = VIEWS = ("people", "layers", "time")


def view(mode: str, record: RouteRecord, image: Tensor, subject: int = 0) -> Tensor:
    """One of VIEWS: image [B, H, W, 3], 0..1 -> [B, H', W', 3].

    people: every subject's share in a colour of its own over the picture. layers, time: the share
    of one subject (1, 2, ...; 0: of all together), black 0, orange, white 1, a tile for every layer
    or for up to MOST_STEPS steps. Raises ValueError for an unknown mode or subject, and for a
    picture of another run.
    """
    if mode not in VIEWS:
        raise ValueError(f"Unknown view {mode!r}: expected one of {list(VIEWS)}.")
    who = _number(record, subject)
    image = image.cpu().float()
    _check(record, image)
    if mode == PEOPLE:
        scale = math.ceil(MIN_SIDE / min(image.shape[1:3]))
        size = tuple(n * scale for n in image.shape[1:3])
        backdrop = F.interpolate(image.movedim(-1, 1), size, mode="bilinear").movedim(1, -1)
        return _named(record, _coloured(record, backdrop))
    if mode == LAYERS:
        maps = {layer: record.share(who, layer) for layer in _readers(record, who)}
    else:
        steps = record.over_time(who)
        chosen = torch.linspace(0, len(steps) - 1, min(len(steps), MOST_STEPS)).round().int()
        maps = {f"{steps[k][0]:.0%}": steps[k][1] for k in chosen.tolist()}
    return _tiles(maps, image, record.words[who] if who is not None else EVERYBODY)


def mask(record: RouteRecord, image: Tensor, subject: int = 0) -> Tensor:
    """Where a subject (1, 2, ...; 0: all together) was painted: [B, H, W], 0..1, as image [B, H, W,
    3]; the mean over layers and steps. Raises as `view`.
    """
    who = _number(record, subject)
    _check(record, image)
    return _fine(record.share(who), image.shape[1:3])


def glance(record: RouteRecord, height: int, width: int) -> Tensor:
    """The subjects' colours on grey [B, height, width, 3], 0..1: the routes so far at a glance,
    cheap enough for every step.
    """
    rows = len(record.share())
    return _coloured(record, torch.full((rows, height, width, 3), FAINT), 1.0)


def _number(record: RouteRecord, subject: int) -> int | None:
    """None for all together. Raises ValueError for a subject that is not there."""
    if not 0 <= subject <= len(record.words):
        words = ", ".join(f"{i} {word}" for i, word in enumerate(record.words, 1))
        raise ValueError(
            f"There is no subject {subject}: expected 0 for everybody, or one of {words or 'none'}."
        )
    return subject - 1 if subject else None


def _check(record: RouteRecord, image: Tensor) -> None:
    share = record.share()
    (rows, h, w), (pictures, height, width) = share.shape, image.shape[:3]
    if rows != pictures or abs(height / h - width / w) > 0.2 * height / h:
        raise ValueError(
            f"The routes belong to {rows} picture(s) with cells {w}x{h}; came {pictures} "
            f"picture(s) of {width}x{height} pixels. Connect the decoded picture of the sampling "
            "run that recorded the routes, before it is cropped or pasted."
        )


def _readers(record: RouteRecord, who: int | None) -> list[str]:
    """The layers that know of a subject; those that read no text know of all together only."""
    if who is None:
        return list(record.layers())
    told = {layer for (_, layer, _), route in record.entries.items() if route.subjects is not None}
    return [layer for layer in record.layers() if layer in told]


def _fine(share: Tensor, size: tuple[int, int]) -> Tensor:
    return resample(share.cpu().float(), tuple(size)).clamp(0, 1)


def _coloured(record: RouteRecord, backdrop: Tensor, veil: float = VEIL) -> Tensor:
    out = backdrop
    for number in range(len(record.words)):
        cover = veil * _fine(record.share(number), backdrop.shape[1:3]).unsqueeze(-1)
        out = out.lerp(COLOURS[number % len(COLOURS)].expand_as(out), cover)
    return out


def _named(record: RouteRecord, pictures: Tensor) -> Tensor:
    """A legend in the upper left corner."""
    out = pictures.clone()
    for number, word in enumerate(record.words):
        top = 8 + 26 * number
        out[:, top + 2 : top + 18, 8:24] = COLOURS[number % len(COLOURS)]
        out = label(out, (32, top), f"{number + 1} {word}")
    return out


def _tiles(maps: dict[str, Tensor], image: Tensor, who: str) -> Tensor:
    """Maps over the darkened picture, each with its name, in rows of about the picture's shape."""
    columns = math.ceil(math.sqrt(len(maps)))
    rows = math.ceil(len(maps) / columns)
    scale = max(1, math.ceil(MIN_SIDE / (columns * min(image.shape[1:3]))))
    size = tuple(max(n * scale, 96) for n in image.shape[1:3])
    faint = F.interpolate(image.movedim(-1, 1), size, mode="bilinear").movedim(1, -1) * FAINT
    drawn = []
    for number, (name, share) in enumerate(maps.items()):
        tile = faint + (1 - FAINT) * heat(_fine(share, size))
        drawn.append(label(tile, (6, 4), name if number else f"{name}  {who}"))
    drawn += [torch.zeros_like(drawn[0])] * (rows * columns - len(drawn))
    lines = [torch.cat(drawn[r * columns : (r + 1) * columns], 2) for r in range(rows)]
    return torch.cat(lines, 1).clamp(0, 1)
