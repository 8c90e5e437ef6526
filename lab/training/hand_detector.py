"""`mannequin train hand-detector`: networks that only measure where joints are in a picture.

Trained on renders alone, apart from everything that paints: one for 21 points of a right hand in
its 64x64 close-up, one for 18 points of a body in a 128x96 picture.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .data import pictures
from .hands_data import HandPool, open_pool
from .loop import Schedule, Trainer

SEED, STEPS, BATCH, RATE = 9, 4000, 24, 1e-3
STRIDE = 2
WIDTHS = (32, 48, 64, 96)
COUNTS = {"hand": 21, "body": 18}
SPREAD = 1.2  # cells: width of the peak that is aimed at
UNSEEN = 0.2  # weight of points in the picture that something covers
MEASURES = Path(__file__).parents[1] / "benchmarks" / "weights"


class PointNet(nn.Module):
    """picture [B, 3, H, W], -1..1 -> logits [B, points, H / 2, W / 2]; H, W multiples of 16."""

    def __init__(self, points: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()

        def layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            return nn.Sequential(conv, nn.GroupNorm(8, after), nn.SiLU())

        pairs = list(pairwise(widths))
        self.enter = layer(3, widths[0], STRIDE)
        self.down = nn.ModuleList(nn.Sequential(layer(a, b, 2), layer(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(layer(a + b, a) for a, b in pairs)
        self.leave = nn.Conv2d(widths[0], points, 1)

    def forward(self, picture: Tensor) -> Tensor:
        kept = [self.enter(picture)]
        for step in self.down:
            kept.append(step(kept[-1]))
        x = kept.pop()
        for up, level in zip(reversed(self.up), reversed(kept), strict=True):
            x = up(torch.cat([level, F.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        return self.leave(x)


def places(height: int, width: int) -> Tensor:
    """Middles of the cells in pixels, [h * w, 2]."""
    y, x = (torch.arange(n) * STRIDE + STRIDE / 2 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)


def locate(logits: Tensor) -> Tensor:
    """Logits [B, P, h, w] -> [B, P, 3]: x and y in pixels, around the peak, and its share of all,
    0..1.
    """
    at = places(*logits.shape[-2:])
    share = logits.flatten(2).softmax(-1)
    peak = at[share.argmax(-1)]
    near = (at - peak.unsqueeze(2)).abs().amax(-1) <= 2 * STRIDE
    weight = share * near
    mass = weight.sum(-1, keepdim=True)
    return torch.cat([weight @ at / mass, mass], -1)


def point_loss(logits: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy against a peak at every point [B, P, 3]; a point outside the picture does not
    count, one that something covers counts UNSEEN.
    """
    h, w = logits.shape[-2:]
    at = points[..., :2]
    inside = ((at >= 0) & (at < at.new_tensor([w, h]) * STRIDE)).all(-1)
    far = (places(h, w) - at.unsqueeze(2)).square().sum(-1) / (SPREAD * STRIDE) ** 2
    aim = (-far / 2).softmax(-1)
    entropy = -(aim * logits.flatten(2).log_softmax(-1)).sum(-1)
    weight = torch.where(points[..., 2] > 0, 1.0, UNSEEN) * inside
    return (entropy * weight).sum() / weight.sum().clamp_min(1)


def worn(picture: Tensor, g: torch.Generator) -> Tensor:
    """Another light, a blur and grain, so that painted pictures are read as rendered ones are."""
    b = len(picture)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=g)

    picture = picture * draw(0.7, 1.2, b, 1, 1, 1) + draw(-0.2, 0.2, b, 3, 1, 1)
    scale = float(draw(0.35, 1.0, 1))
    if scale < 0.9:
        small = F.interpolate(picture, scale_factor=scale, mode="bilinear", antialias=True)
        picture = F.interpolate(small, picture.shape[-2:], mode="bilinear")
    return picture + float(draw(0, 0.12, 1)) * torch.randn(picture.shape, generator=g)


class BodyPool:
    """Whole people: pictures and their 18 points."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(Path(folder).glob("shard_*.safetensors"))
        if not paths:
            raise ValueError(f"{folder}: expected shards of rendered people, found none.")
        images, points = [], []
        for path in paths:
            with safe_open(path, framework="pt") as file:
                images.append(file.get_tensor("image").flatten(0, 1))
                points.append(file.get_tensor("keypoints").flatten(0, 1))
        self.image, self.points = torch.cat(images), torch.cat(points)

    def __len__(self) -> int:
        return len(self.image)


class DetectorLoss:
    """A batch of worn pictures of one pool."""

    def __init__(self, net: PointNet, pool: HandPool | BodyPool) -> None:
        self.net, self.pool = net, pool

    def __call__(self, step: int, g: torch.Generator) -> dict[str, Tensor]:
        which = torch.randint(len(self.pool), (BATCH,), generator=g)
        picture = worn(pictures(self.pool.image[which]), g)
        return {"total": point_loss(self.net(picture), self.pool.points[which])}


@torch.inference_mode()
def points_of(net: PointNet, picture: Tensor, batch: int = 64) -> Tensor:
    """Pictures [B, H, W, 3], 0..1 -> [B, P, 3] as `locate`."""
    parts = [net(part.movedim(-1, 1) * 2 - 1) for part in picture.float().split(batch)]
    return locate(torch.cat(parts))


def error_of(found: Tensor, points: Tensor, side: float) -> Tensor:
    """Mean distance of each picture's seen points, in shares of `side`, [B]; NaN where none is."""
    seen = points[..., 2] > 0
    far = (found[..., :2] - points[..., :2]).norm(dim=-1) / side
    return (far * seen).sum(1) / seen.sum(1)


def open_points(work: Path, kind: str, heldout: bool = False) -> HandPool | BodyPool:
    """What `work` holds of a kind of picture."""
    if kind == "hand":
        return open_pool(work / ("portraits-heldout" if heldout else "portraits"))
    return BodyPool(work / ("heldout" if heldout else "train"))


def run(work: Path, out: Path, kind: str, steps: int) -> None:
    """Trains on what `work` holds and writes `out`; goes on from its checkpoint."""
    torch.manual_seed(SEED)
    net = PointNet(COUNTS[kind])
    schedule = Schedule(steps, rate=RATE, decay=0.4)
    trainer = Trainer({"net": net}, schedule, work / f"{kind}-points.safetensors", SEED, every=120)
    trainer.run(DetectorLoss(net, open_points(work, kind)))
    net.load_state_dict(trainer.averaged()["net"])
    unseen = open_points(work, kind, heldout=True)
    found = points_of(net, unseen.image[:256] / 255)
    side = float(max(unseen.image.shape[1:3]))
    error = float(error_of(found, unseen.points[:256], side).nanmean())
    print(json.dumps({"heldout_error": round(error, 4)}), flush=True)
    about = {"points": str(COUNTS[kind]), "steps": str(trainer.step), "error": f"{error:.4f}"}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: t.half().contiguous() for k, t in net.state_dict().items()}, out, about)


def load_points(path: Path) -> PointNet:
    """A trained network of `run`."""
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    net = PointNet(len(stored["leave.bias"]))
    net.load_state_dict(stored)
    return net.eval().requires_grad_(False)


def main(arguments: list[str]) -> None:
    """Trains both from a working folder that `train inpaint` has filled."""
    parser = argparse.ArgumentParser("mannequin train hand-detector", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"))
    parser.add_argument("--out", type=Path, default=MEASURES)
    parser.add_argument("--kind", choices=list(COUNTS), action="append", help="default: both")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    for kind in options.kind or COUNTS:
        run(options.work, options.out / f"{kind}-points.safetensors", kind, options.steps)
