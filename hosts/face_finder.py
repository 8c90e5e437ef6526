"""A small network that finds faces: their mask, and the square that the face networks look at.

Our design: every half-resolution cell says how likely it shows a face, and where the window of that
face lies; windows that agree are one face. Trained on synthetic people only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..methods.crops import Window, resample

STRIDE = 2
TYPICAL = 48.0  # pixels of a window whose predicted size is 0
FINEST, COARSEST = 512, 48  # longest sides at which a picture is looked at
SMALLEST, LARGEST = 13.0, 150.0  # windows that are believed, in pixels of the network's input
CLOSE, CLOSER = 64, 96  # pixels of a close-up
ALIKE = 0.5  # overlap of windows that agree
SAME = 0.6  # shared part of windows that are one face
FEWEST = 3.0  # votes for a window
GLIMPSE, LEAST = 0.04, 0.12  # part of the window that shows face, at first and in the end
MOST_VOTES, MOST_FACES = 1500, 32


class _Layer(nn.Module):
    """A 3x3 convolution; every place is normalised by itself, so that no size is special."""

    def __init__(self, before: int, after: int, operations: Any, stride: int = 1) -> None:
        super().__init__()
        self.conv = operations.Conv2d(before, after, 3, stride=stride, padding=1)
        self.gain = nn.Parameter(torch.ones(after))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        size = x.square().mean(1, keepdim=True).add(1e-5).rsqrt()
        return F.silu(x * size * self.gain[:, None, None].to(x))


class FaceFinder(nn.Module):
    """picture [B, 3, H, W] -1..1 -> [B, 4, ceil(H / 2), ceil(W / 2)].

    Channel 0: logit of "this cell shows a face". 1, 2: from the cell's centre to the middle of the
    face's window, x and y, in units of the window's side. 3: log(side / TYPICAL), side in pixels.
    widths: channels at strides 2, 4, 8 and so on. operations: where the layers come from, PyTorch
    or the host.
    """

    def __init__(self, widths: Sequence[int], operations: Any = nn) -> None:
        super().__init__()
        self.enter = _Layer(3, widths[0], operations, 2)
        self.down = nn.ModuleList(
            nn.Sequential(_Layer(a, b, operations, 2), _Layer(b, b, operations))
            for a, b in pairwise(widths)
        )
        self.around = _Layer(widths[-1], widths[-1], operations)
        self.narrow = nn.ModuleList(operations.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_Layer(a, a, operations) for a in widths[:-1])
        self.leave = operations.Conv2d(widths[0], 4, 1)
        self.multiple = STRIDE << (len(widths) - 1)

    def forward(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        picture = F.pad(
            picture, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate"
        )
        levels = [self.enter(picture)]
        for step in self.down:
            levels.append(step(levels[-1]))
        x = levels.pop()
        x = x + self.around(x)
        for narrow, up, level in zip(
            reversed(self.narrow), reversed(self.up), reversed(levels), strict=True
        ):
            x = up(level + F.interpolate(narrow(x), scale_factor=2.0, mode="nearest"))
        return self.leave(x)[..., : -(-height // STRIDE), : -(-width // STRIDE)]


def votes(out: Tensor) -> Tensor:
    """[..., 4, h, w] of FaceFinder -> [..., h, w, 4]: probability, and the window's middle x, y and
    side in pixels of the network's input.
    """
    h, w = out.shape[-2:]
    y = (torch.arange(h, device=out.device) + 0.5) * STRIDE
    x = (torch.arange(w, device=out.device) + 0.5) * STRIDE
    logit, right, down, size = out.float().unbind(-3)
    side = TYPICAL * size.clamp(-4, 4).exp()
    return torch.stack([logit.sigmoid(), x + right * side, y[:, None] + down * side, side], -1)


@dataclass(frozen=True)
class Face:
    """window: left, top, right, bottom of the square that the face networks look at, in pixels of
    the picture, which it may leave. mask: [H, W], 0..1. confidence: 0..1, mean probability of its
    pixels."""

    window: Window
    mask: Tensor
    confidence: float

    @property
    def side(self) -> float:
        """Of the window, in pixels."""
        return self.window[2] - self.window[0]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """left, top, right, bottom around the mask."""
        there = self.mask >= self.mask.max() / 2
        rows, columns = (there.any(i).nonzero() for i in (1, 0))
        return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@torch.inference_mode()
def find_faces(net: FaceFinder, picture: Tensor) -> list[Face]:
    """The faces of a picture [H, W, 3], 0..1, the largest window first.

    The picture is looked at in halves of its size down to COARSEST pixels; windows on which cells
    agree are looked at again, each at the size of a portrait, which settles place, mask and
    confidence. Less face than LEAST of its window (covered, cut off or turned away) is none.
    """
    picture = picture.float().movedim(-1, 0)
    found: list[Face] = []
    for window in _windows(net, picture):
        face = _look_again(net, picture, window)
        if face is not None:
            found.append(face)
    found.sort(key=lambda face: -face.confidence)
    kept: list[Face] = []
    for face in found:
        if all(_shared(face.window, other.window) < SAME for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.side)


def _windows(net: FaceFinder, picture: Tensor) -> list[Window]:
    """Windows on which cells agree, over all scales."""
    seen = []
    longest = max(picture.shape[-2:])
    scale = min(1.0, FINEST / longest)
    while not seen or scale * longest >= COARSEST:
        h, w = (max(16, round(n * scale)) for n in picture.shape[-2:])
        small = F.interpolate(picture[None], (h, w), mode="bilinear", antialias=True)
        told = votes(net(small * 2 - 1))[0].flatten(0, 1)
        side = told[:, 3]
        told = told[(told[:, 0] > 0.5) & (side > SMALLEST) & (side < LARGEST)]
        told = told[:: -(-len(told) // MOST_VOTES)] if len(told) > MOST_VOTES else told
        size = told[:, 3] / scale
        seen.append(torch.stack([told[:, 0], told[:, 1] / scale, told[:, 2] / scale, size], -1))
        scale /= 2
    return _agreed(torch.cat(seen))


def _agreed(told: Tensor) -> list[Window]:
    """Groups votes [M, 4] (weight, middle x, y, side): the vote that most agree with takes its
    followers with it, until nobody is left."""
    out = []
    alike = _overlap(told[:, 1:], told[:, 1:]) > ALIKE
    left = torch.ones(len(told), dtype=torch.bool)
    while left.any() and len(out) < MOST_FACES:
        support = (alike & left).float() @ told[:, 0]
        best = int(torch.where(left, support, -1.0).argmax())
        group = alike[best] & left
        if float(support[best]) >= FEWEST:
            x, y, side = (told[group, :1] * told[group, 1:]).sum(0) / told[group, 0].sum()
            half = side / 2
            out.append(tuple(float(n) for n in (x - half, y - half, x + half, y + half)))
        left &= ~group
    return out


@dataclass(frozen=True)
class _Look:
    """What a close-up of a window shows. seen: [S, S], probability of the face that fills it.
    window: where that face's own window lies. share: of the close-up that is face. confidence: mean
    probability of its cells.
    """

    seen: Tensor
    window: Window
    share: float
    confidence: float


def _look(net: FaceFinder, picture: Tensor, window: Window, size: int) -> _Look | None:
    """A close-up of size x size pixels; None where it shows no face that fills it."""
    close = resample(picture, window, size, size)
    told = votes(net(close[None] * 2 - 1))[0]
    p, where = told[..., 0], told[..., 1:]
    whole = where.new_tensor([[size / 2, size / 2, size]])
    own = (_overlap(where.flatten(0, 1), whole) > ALIKE).view_as(p)
    weight = p * own * (p > 0.5)
    mass = float(weight.sum())
    if not mass:
        return None
    x, y, side = ((weight[..., None] * where).sum((0, 1)) / mass).tolist()
    unit = (window[2] - window[0]) / size
    x, y, half = window[0] + x * unit, window[1] + y * unit, side * unit / 2
    seen = F.interpolate((p * own)[None, None], (size, size), mode="bilinear")[0, 0]
    confidence = mass / float((weight > 0).sum())
    return _Look(seen, (x - half, y - half, x + half, y + half), mass / p.numel(), confidence)


def _look_again(net: FaceFinder, picture: Tensor, window: Window) -> Face | None:
    """The face in a window, or None where looking closer, twice, does not confirm it."""
    glimpse = _look(net, picture, window, CLOSE)
    if glimpse is None or glimpse.share < GLIMPSE:
        return None
    looks = [_look(net, picture, glimpse.window, size) for size in (CLOSE, CLOSER)]
    if any(look is None or look.share < LEAST for look in looks):
        return None
    left, top = glimpse.window[:2]
    unit = (glimpse.window[2] - left) / CLOSE
    height, width = picture.shape[-2:]
    view = (-left, -top, width - left, height - top)  # the picture, as seen from the close-up
    view = tuple(n / unit + 1 for n in view)  # which gets a border of one pixel without a face
    mask = resample(F.pad(looks[0].seen, (1, 1, 1, 1)), view, height, width)
    return Face(looks[0].window, mask, looks[0].confidence)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Shared area over joint area of squares [M, 3] and [N, 3] (middle x, y, side), [M, N]."""
    a, b = a[:, None], b[None]
    reach = (a[..., 2:] + b[..., 2:]) / 2 - (a[..., :2] - b[..., :2]).abs()
    least = torch.minimum(a[..., 2:], b[..., 2:])
    shared = torch.minimum(reach, least).clamp_min(0).prod(-1)
    return shared / (a[..., 2].square() + b[..., 2].square() - shared)


def _shared(a: Window, b: Window) -> float:
    """Shared area over the smaller one's area."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    return max(width, 0) * max(height, 0) / min((w[2] - w[0]) ** 2 for w in (a, b))
