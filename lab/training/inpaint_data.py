"""Pictures, labels and captions of the domains as inpainting batches."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from ..people import phrases
from ..people.phrases import Speaker
from .data import pictures

DOMAINS = ("body", "face", "hand", "scene")
NO_TEXT = 0.1
SKIN, HAIR, TOP, BOTTOM, FACE, HANDS = 1, 2, 3, 4, 6, (7, 8)


@dataclass
class Batch:
    """picture [B, 3, H, W] -1..1; region [B, 1, H, W], 1 where it is to be painted; prompts."""

    picture: Tensor
    region: Tensor
    prompts: list[str]
    domain: str


def _shards(folder: Path) -> list[Path]:
    paths = sorted(Path(folder).glob("shard_*.safetensors"))
    if not paths:
        raise ValueError(f"{folder}: expected shards of rendered people, found none. Render them.")
    return paths


class Pool:
    """All pictures of one domain in memory: image u8 [N, H, W, 3], label u8 [N, H, W], facts."""

    def __init__(self, domain: str, folder: Path) -> None:
        self.domain = domain
        self.facts: list[dict] = []
        self.seen: set[str] = set()
        self.folder = folder
        self.image: list[Tensor] = []
        self.label: list[Tensor] = []
        self.ends: list[int] = []
        self.refresh()

    def refresh(self) -> None:
        """Reads the shards that have appeared since the last call."""
        stem = "" if self.domain == "body" else f"{self.domain}_"
        for path in _shards(self.folder):
            if path.name in self.seen:
                continue
            self.seen.add(path.name)
            with safe_open(path, framework="pt") as file:
                self.image.append(file.get_tensor(f"{stem}image").flatten(0, 1))
                self.label.append(file.get_tensor(f"{stem}label").flatten(0, 1))
                facts = file.metadata()
            self.facts += self._facts(facts, len(self.image[-1]))
            self.ends.append(len(self.facts))

    def _facts(self, metadata: dict[str, str], count: int) -> list[dict]:
        if self.domain != "body":
            return [one for person in json.loads(metadata[f"{self.domain}s"]) for one in person]
        out = []
        for found in json.loads(metadata["attributes"]):
            first, second = ({**p, "frame": found["frame"]} for p in found["people"])
            out += [first, first, first, second]
        return out

    def __len__(self) -> int:
        return len(self.facts)

    def take(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures u8 [B, H, W, 3] and labels u8 [B, H, W]."""
        shard = torch.searchsorted(torch.tensor(self.ends), which, right=True)
        place = which - torch.tensor([0, *self.ends])[shard]
        pairs = list(zip(shard.tolist(), place.tolist(), strict=True))
        return (
            torch.stack([self.image[s][i] for s, i in pairs]),
            torch.stack([self.label[s][i] for s, i in pairs]),
        )

    def prompt(self, index: int, rng: np.random.Generator | None = None) -> str:
        """What can be said about a picture: everything, or with `rng` a part of it."""
        facts, say = self.facts[index], Speaker(rng)
        if self.domain == "body":
            return phrases.body(facts, facts["frame"], say)
        return {"face": phrases.face, "hand": phrases.hand}[self.domain](facts, say)

    def draw(self, count: int, g: torch.Generator) -> Batch:
        """A training batch: pictures, what to paint of them, and what is said about them."""
        which = torch.randint(len(self), (count,), generator=g)
        image, label = self.take(which)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
        prompts = ["" if rng.random() < NO_TEXT else self.prompt(i, rng) for i in which.tolist()]
        region = torch.stack([paint_region(one, self.domain, rng) for one in label])
        return Batch(pictures(image), region.unsqueeze(1), prompts, self.domain)


def grow(region: Tensor, pixels: int) -> Tensor:
    """Dilates [H, W] by a square of 2 * pixels + 1."""
    return F.max_pool2d(region[None, None], 2 * pixels + 1, 1, pixels)[0, 0]


def box_of(region: Tensor, margin: int) -> Tensor:
    """The box around what is 1 in [H, W], grown by `margin`; everything where nothing is."""
    rows, columns = region.any(1).nonzero(), region.any(0).nonzero()
    if len(rows) == 0:
        return torch.ones_like(region)
    out = torch.zeros_like(region)
    top, left = (max(int(i.min()) - margin, 0) for i in (rows, columns))
    out[top : int(rows.max()) + margin + 1, left : int(columns.max()) + margin + 1] = 1
    return out


def free_form(height: int, width: int, rng: np.random.Generator) -> Tensor:
    """A few thick strokes, [H, W]."""
    ys, xs = np.mgrid[:height, :width]
    out = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.07, 0.17) * width
        for _ in range(rng.integers(4, 12)):
            out |= (ys - y) ** 2 + (xs - x) ** 2 < radius**2
            angle += rng.normal(0, 0.6)
            y, x = (
                np.clip(y + radius * np.sin(angle), 0, height),
                np.clip(x + radius * np.cos(angle), 0, width),
            )
    return torch.from_numpy(out).float()


def paint_region(label: Tensor, domain: str, rng: np.random.Generator) -> Tensor:
    """What is to be painted, [H, W] 0 or 1: everything, what the domain is about (dilated, or its
    box), all but that (outpainting), or strokes."""

    def of(*kinds: int) -> Tensor:
        return torch.isin(label, torch.tensor(kinds)).float()

    subjects = {
        "scene": (of(1), of(1, 2), of(2), of(2, 3), of(3), of(1, 2, 3)),
        "face": (of(FACE), of(FACE), of(FACE, HAIR)),
        "hand": (of(*HANDS), of(*HANDS), of(SKIN, *HANDS)),
        "body": (of(TOP, SKIN), (label > 0).float(), of(FACE, HAIR), of(BOTTOM), of(*HANDS)),
    }[domain]
    subject = subjects[rng.integers(len(subjects))]
    if domain == "scene" and rng.random() < 0.4:
        return torch.ones_like(subject)  # text alone makes the scene
    size = int(rng.integers(1, 7))
    kind = rng.choice(5, p=(0.2, 0.4, 0.2, 0.1, 0.1))
    if kind == 0:
        return torch.ones_like(subject)
    if kind == 1 and subject.any():
        return grow(subject, size)
    if kind == 3 and subject.any():
        kept = of(FACE, HAIR) if domain == "body" and rng.random() < 0.5 else of(*HANDS)
        kept = kept if domain == "body" else subject
        return 1 - grow(kept, int(rng.integers(0, 3)))
    if kind == 4:
        return free_form(*label.shape, rng)
    return box_of(subject > 0, size).float()
