"""Pictures with none, one or several faces, put together from rendered people."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..people.portraits import FACES
from ..people.recipe import stream
from .inpaint_data import FACE, Pool

MOST = 4  # faces with a window in one picture
NO_WINDOW = 255
JITTER = 0.12  # of the portraits' windows


@dataclass
class Scenes:
    """picture [B, 3, H, W] -1..1; owner u8 [B, H, W]: 0 no face, k the face with window k - 1,
    NO_WINDOW a face whose window nobody told; window [B, MOST, 3]: middle x, y and side, pixels."""

    picture: Tensor
    owner: Tensor
    window: Tensor


class Canvas:
    """One picture under construction: colour [3, H, W] 0..1, owner and windows as in Scenes."""

    def __init__(self, colour: Tensor) -> None:
        self.colour = colour.clone()
        self.owner = torch.zeros(colour.shape[1:], dtype=torch.uint8)
        self.windows: list[tuple[float, float, float]] = []

    def paste(
        self,
        colour: Tensor,
        face: Tensor,
        cover: Tensor,
        left: int,
        top: int,
        window: tuple[float, float, float] | None,
    ) -> None:
        """colour [3, h, w], face and cover bool [h, w], window in pixels of what is pasted."""
        height, width = self.owner.shape
        x, y = max(0, -left), max(0, -top)
        h, w = min(face.shape[0], height - top) - y, min(face.shape[1], width - left) - x
        if h <= 0 or w <= 0:
            return
        there = slice(top + y, top + y + h), slice(left + x, left + x + w)
        here = slice(y, y + h), slice(x, x + w)
        cover, face = cover[here], face[here]
        self.colour[(slice(None), *there)] = torch.where(
            cover, colour[(slice(None), *here)], self.colour[(slice(None), *there)]
        )
        name = NO_WINDOW
        if window is not None and len(self.windows) < MOST:
            self.windows.append((window[0] + left, window[1] + top, window[2]))
            name = len(self.windows)
        owner = self.owner[there]
        owner[cover] = 0
        owner[cover & face] = name


class SceneMaker:
    """Draws batches from portraits (faces, hands), rendered from seed 0 on, and whole bodies."""

    def __init__(self, faces: Pool, hands: Pool, bodies: Pool, split: str) -> None:
        self.faces, self.hands, self.bodies = faces, hands, bodies
        self.windows = [window_of(k // FACES, split, k % FACES) for k in range(len(faces))]

    def batch(self, count: int, height: int, width: int, rng: np.random.Generator) -> Scenes:
        """`count` different pictures of one size."""
        window = torch.zeros(count, MOST, 3)
        pictures, owners = [], []
        for i in range(count):
            kind = rng.choice(6, p=(0.18, 0.25, 0.22, 0.05, 0.2, 0.1))
            make = (self.portrait, self.group, self.body, self.two_bodies, self.hand, self.empty)
            canvas = make[kind](height, width, rng)
            owner = canvas.owner
            pictures.append(_photograph(canvas.colour, owner, rng))
            owners.append(owner)
            for k, one in enumerate(canvas.windows):
                window[i, k] = torch.tensor(one)
        flip = torch.from_numpy(rng.random(count) < 0.5)
        picture, owner = torch.stack(pictures) * 2 - 1, torch.stack(owners)
        picture[flip], owner[flip] = picture[flip].flip(-1), owner[flip].flip(-1)
        window[flip, :, 0] = width - window[flip, :, 0]
        return Scenes(picture, owner, window)

    def portrait(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """One portrait that fills the picture, or nearly."""
        side = int(min(height, width) * rng.uniform(0.75, 1.35))
        canvas = self.place(height, width, rng)
        left = round((width - side) / 2 + rng.normal(0, 0.12) * width)
        top = round((height - side) / 2 + rng.normal(0, 0.12) * height)
        self.paste_face(canvas, side, left, top, bool(rng.random() < 0.6), rng)
        return canvas

    def group(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """None to three small portraits, and hands, somewhere."""
        canvas = self.place(height, width, rng)
        for _ in range(rng.integers(0, 3)):
            self._paste_hand(canvas, rng)
        count = int(rng.choice(4, p=(0.1, 0.3, 0.45, 0.15)))
        most = min(height, width) * (1.0, 1.0, 0.7, 0.55)[count]
        columns = rng.permutation(count)
        for k in range(count):
            side = int(np.exp(rng.uniform(np.log(15), np.log(most))))
            if count == 1 or rng.random() < 0.3:
                left = int(rng.uniform(-0.15 * side, width - 0.85 * side))
            else:
                middle = (columns[k] + 0.5 + rng.normal(0, 0.08)) / count * width
                left = int(middle - side / 2)
            top = int(rng.uniform(-0.15 * side, height - 0.85 * side))
            self.paste_face(canvas, side, left, top, bool(rng.random() < 0.35), rng)
        return canvas

    def body(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """A part of a whole-body picture, sometimes a part without the face."""
        colour, label = self._take(self.bodies, rng)
        scale = rng.uniform(0.8, 1.7) * height / label.shape[0]
        colour, face, _ = _resize(colour, label, *(round(n * scale) for n in label.shape))
        h, w = face.shape
        canvas = Canvas(torch.full((3, height, width), 0.5))
        top, left = (
            int(rng.uniform(min(0, n - m), max(0, n - m))) for n, m in ((height, h), (width, w))
        )
        rows = face.any(1).nonzero()
        if len(rows) and rng.random() < 0.7:
            top = min(max(top, -int(rows.min())), height - int(rows.max()) - 1)
        if h < height or w < width:
            colour, face, top, left = _reach(colour, face, height, width, top, left)
        canvas.paste(colour, face, torch.ones_like(face), left, top, None)
        return canvas

    def two_bodies(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """Two whole-body pictures, one beside the other."""
        canvas = Canvas(torch.full((3, height, width), 0.5))
        split = int(width * rng.uniform(0.4, 0.6))
        for left, right in ((0, split), (split, width)):
            half = self.body(height, right - left, rng)
            canvas.colour[:, :, left:right] = half.colour
            canvas.owner[:, left:right] = half.owner
        return canvas

    def hand(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """A hand that fills the picture."""
        colour, label = self._take(self.hands, rng)
        side = int(max(height, width) * rng.uniform(1.0, 1.4))
        colour, face, _ = _resize(colour, label, side, side)
        canvas = Canvas(torch.full((3, height, width), 0.5))
        left, top = -int(rng.uniform(0, side - width)), -int(rng.uniform(0, side - height))
        canvas.paste(colour, face, torch.ones_like(face), left, top, None)
        return canvas

    def empty(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        return self.place(height, width, rng)

    def _take(self, pool: Pool, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A picture [3, h, w] 0..1 and its labels."""
        image, label = pool.take(torch.tensor([int(rng.integers(len(pool)))]))
        return image[0].movedim(-1, 0).float() / 255, label[0]

    def place(self, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """Somewhere without faces: a colour, a gradient, noise, cloth, or a stretched wall."""
        kind = rng.choice(5, p=(0.15, 0.2, 0.15, 0.25, 0.25))
        if kind == 0:
            colour = torch.from_numpy(rng.random((3, 1, 1))).float()
        elif kind == 1:
            colour = torch.from_numpy(rng.random((3, 2, 2))).float()
        elif kind == 2:
            cells = int(rng.integers(3, 48))
            colour = torch.from_numpy(rng.random((3, cells, cells))).float()
            colour = torch.lerp(colour.mean((1, 2), keepdim=True), colour, float(rng.random()))
        else:
            image, label = self._take(self.bodies, rng)
            h, w = label.shape
            size = int(rng.integers(10, 40))
            for _ in range(8):
                y, x = int(rng.integers(0, h - size)), int(rng.integers(0, w - size))
                part = label[y : y + size, x : x + size]
                if kind == 3 and (part > 0).any() and not (part == FACE).any():
                    break
                if kind == 4 and not (part > 0).any():
                    break
            else:
                y, x = h - size, 0
            colour = image[:, y : y + size, x : x + size]
        colour = F.interpolate(colour[None], (height, width), mode="bilinear")[0]
        canvas = Canvas(colour)
        if kind in (3, 4) and (part == FACE).any():
            canvas.owner[:] = 0
            canvas.colour = canvas.colour.mean((1, 2), keepdim=True).expand_as(colour).clone()
        return canvas

    def paste_face(
        self,
        canvas: Canvas,
        side: int,
        left: int,
        top: int,
        whole: bool,
        rng: np.random.Generator,
    ) -> None:
        """A portrait of `side` pixels, with its background or cut out."""
        which = int(rng.integers(len(self.faces)))
        image, label = self.faces.take(torch.tensor([which]))
        colour, label = image[0].movedim(-1, 0).float() / 255, label[0]
        size = label.shape[0]
        colour, face, person = _resize(colour, label, side, side)
        cover = torch.ones_like(person) if whole else person
        window = tuple(n * side / size for n in self.windows[which])
        canvas.paste(colour, face, cover, left, top, window)

    def _paste_hand(self, canvas: Canvas, rng: np.random.Generator) -> None:
        colour, label = self._take(self.hands, rng)
        side = int(rng.integers(12, 64))
        colour, face, person = _resize(colour, label, side, side)
        height, width = canvas.owner.shape
        left, top = int(rng.uniform(-8, width - 8)), int(rng.uniform(-8, height - 8))
        cover = person & ~face if rng.random() < 0.7 else torch.ones_like(person)
        canvas.paste(colour, face, cover, left, top, None)


def window_of(seed: int, split: str, picture: int, size: int = 64) -> tuple[float, float, float]:
    """Where the face's own window (`crops.windows`) lies in a portrait: middle x, y and side, in
    pixels. Portraits are taken through a window that is moved and scaled at random; this draws
    again what `portraits.render_portraits` drew.
    """
    rng = stream(split, seed, 12, picture)
    grown = float(np.exp(rng.uniform(-JITTER, JITTER)))
    x, y = rng.uniform(-JITTER, JITTER, 2)
    return size / 2 * (1 - x), size / 2 * (1 - y), size / grown


def _resize(colour: Tensor, label: Tensor, h: int, w: int) -> tuple[Tensor, Tensor, Tensor]:
    """Colour [3, h, w], and where face and person are, bool [h, w]."""
    kinds = torch.stack([label == FACE, label > 0]).float()
    both = torch.cat([colour, kinds])[None]
    both = F.interpolate(both, (h, w), mode="bilinear", antialias=True)[0]
    return both[:3].clamp(0, 1), both[3] > 0.5, both[4] > 0.5


def _reach(
    colour: Tensor, face: Tensor, height: int, width: int, top: int, left: int
) -> tuple[Tensor, Tensor, int, int]:
    """Repeats a picture's border until it covers the canvas."""
    h, w = face.shape
    before = max(0, left), max(0, top)
    after = max(0, width - left - w), max(0, height - top - h)
    margins = (before[0], after[0], before[1], after[1])
    colour = F.pad(colour[None], margins, mode="replicate")[0]
    return colour, F.pad(face, margins), top - before[1], left - before[0]


def _photograph(colour: Tensor, owner: Tensor, rng: np.random.Generator) -> Tensor:
    """What must not matter: light, colour cast, softness, noise, missing patches. Changes owner
    where a patch is missing."""
    x = colour
    if rng.random() < 0.3:
        h, w = owner.shape
        factor = rng.uniform(0.4, 0.9)
        x = F.interpolate(x[None], scale_factor=factor, mode="bilinear", antialias=True)
        x = F.interpolate(x, (h, w), mode="bilinear")[0]
    x = (
        x.pow(float(np.exp(rng.normal(0, 0.25))))
        * torch.from_numpy(rng.normal(1, 0.08, (3, 1, 1))).float()
    )
    x = (x - 0.5) * rng.uniform(0.7, 1.2) + 0.5 + rng.normal(0, 0.06)
    if rng.random() < 0.1:
        x = x.mean(0, keepdim=True).expand(3, -1, -1)
    if rng.random() < 0.4:
        noise = rng.normal(0, rng.uniform(0, 0.05), tuple(x.shape))
        x = x + torch.from_numpy(noise).float()
    if rng.random() < 0.15:
        h, w = owner.shape
        y, left = int(rng.integers(0, h)), int(rng.integers(0, w))
        there = slice(y, y + int(rng.integers(4, 24))), slice(left, left + int(rng.integers(4, 24)))
        x = x.clone()
        x[(slice(None), *there)] = 0.5 if rng.random() < 0.5 else float(rng.random())
        owner[there] = 0
    return x.clamp(0, 1)
