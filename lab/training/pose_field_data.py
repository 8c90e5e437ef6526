"""Valid poses of the synthetic people, seen from many sides, and poses that something has broken.

Poses are OpenPose's 18 points; nothing is rendered, so thousands come in a minute.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ...methods.pose_field import ABOVE, BONES, assemble
from ...methods.pose_maps import BODY
from ..people.body import load_body
from ..people.camera import DISTANCE
from ..people.pose import bone_transforms, sample_pose
from ..people.recipe import recipe_of, stream
from ..people.shape import rest_shape

POSE_STREAM = 400
POSES, VIEWS = 5, 6  # per person, and per pose
TURN, TILT = 35.0, 6.0  # degrees that the camera goes around, beyond the people's own turns
PIXELS = 60.0  # per metre: points come in a picture's measure
KNEES, HIPS = (9, 10, 12, 13), (8, 11)
FRAMES = (0.35, 0.15)  # shares cut at the thigh, and at the waist
LOSSES = 0.35  # largest share of points that a pose finder misses
WIDEST = 75.0  # degrees: spread of a broken bone's turn at scale 1
MIRRORED = tuple(
    BODY.names.index(name.replace("left", "?").replace("right", "left").replace("?", "right"))
    for name in BODY.names
)
ARMS, LEGS = ((2, 3, 4), (5, 6, 7)), ((8, 9, 10), (11, 12, 13))


def joints_of(seed: int, split: str, poses: int = POSES) -> np.ndarray:
    """Joints [poses, 18, 3] in metres of a person of the recipe, in poses of their own."""
    body, who = load_body(), recipe_of(seed, split).people[0]
    vertices, heads = rest_shape(body, who.phenotype, who.details, who.actions)
    used = np.flatnonzero((body.coco != 0).any(0))
    weights, regress = body.skin_weights[used], body.coco[:, used]
    out = []
    for k in range(poses):
        angles = sample_pose(stream(split, seed, POSE_STREAM, k))
        angles = {b: turns for b, turns in angles.items() if not b.startswith("finger")}
        moves = bone_transforms(body, heads, angles)
        own = (weights @ moves[:, :3].reshape(-1, 12)).reshape(-1, 3, 4)
        out.append(regress @ (np.einsum("vij,vj->vi", own[..., :3], vertices[used]) + own[..., 3]))
    return np.stack(out)


def seen_from(joints: np.ndarray, rng: np.random.Generator, views: int = VIEWS) -> Tensor:
    """Joints [n, 18, 3] in metres -> points [n * views, 18, 3] with confidence 1; the first view
    is the people's own camera, the others go around it, and half of them are mirror images.
    """
    middle = joints[:, [1, 8, 11]].mean(1, keepdims=True)
    out = []
    for k in range(views):
        turn = tilt = np.zeros(len(joints))
        if k:
            turn = np.deg2rad(rng.uniform(-TURN, TURN, len(joints)))
            tilt = np.deg2rad(rng.normal(0, TILT, len(joints)))
        x, y, z = (joints - middle).transpose(2, 0, 1)
        cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
        x, y = cos * x - sin * y, sin * x + cos * y
        cos, sin = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
        y, z = cos * y - sin * z, sin * y + cos * z
        near = DISTANCE / (DISTANCE + y) * PIXELS
        points = np.stack([x * near, -z * near, np.ones_like(x)], -1)
        if k % 2:
            points = points[:, MIRRORED] * [-1, 1, 1]
        out.append(points)
    return torch.from_numpy(np.concatenate(out).astype(np.float32))


def valid_poses(first: int, people: int, split: str) -> Tensor:
    """Whole poses [people * POSES * VIEWS, 18, 3] of the people from seed `first` on."""
    rng = stream(split, first, POSE_STREAM)
    joints = [joints_of(seed, split) for seed in range(first, first + people)]
    return seen_from(np.concatenate(joints), rng)


def shard_points(folder: Path) -> Tensor:
    """Poses [n, 18, 3] of a folder of rendered people, in pixels, with 1 where a point is seen."""
    out = []
    for path in sorted(Path(folder).glob("shard_*.safetensors")):
        with safe_open(path, framework="pt") as file:
            out.append(file.get_tensor("keypoints").flatten(0, 1))
    if not out:
        raise ValueError(f"{folder}: expected shards of rendered people, found none.")
    return torch.cat(out)


def shard_poses(folder: Path) -> Tensor:
    """`shard_points` with all points known, also those covered or outside the picture."""
    points = shard_points(folder)
    return torch.cat([points[..., :2], torch.ones_like(points[..., 2:])], -1)


def lose_points(points: Tensor, g: torch.Generator) -> Tensor:
    """Poses as a picture shows them: cut at thigh or waist, and some points missed."""
    count = len(points)
    cut = torch.rand(count, generator=g)
    missed = torch.rand(count, 1, generator=g) * LOSSES * (torch.rand(count, 1, generator=g) < 0.7)
    keep = torch.rand(points.shape[:2], generator=g) >= missed
    keep[:, KNEES] &= (cut >= sum(FRAMES))[:, None]
    keep[:, HIPS] &= ((cut < FRAMES[0]) | (cut >= sum(FRAMES)))[:, None]
    return torch.cat([points[..., :2], points[..., 2:] * keep.unsqueeze(-1)], -1)


def broken(points: Tensor, scale: Tensor, g: torch.Generator) -> Tensor:
    """Poses [B, 18, 3] broken by scale [B], 0..1 and beyond.

    Some bones (a random share, one at least) turn by a normal angle of spread scale * WIDEST
    degrees and change their length by exp(0.4 scale n), half of the time with all that hangs on
    them; points shift by 0.06 scale n of the pose's size, half of the time; and one pose in seven
    has the lower arms or legs on the wrong side, at any scale.
    """
    count, bones = len(points), len(BONES)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=g)

    share = 0.1 + 0.9 * torch.rand(count, 1, generator=g)
    hit = torch.rand(count, bones, generator=g) < share
    hit[torch.arange(count), torch.randint(bones, (count,), generator=g)] = True
    angle = torch.deg2rad(normal(bones) * scale[:, None] * WIDEST) * hit
    whole = torch.rand(count, generator=g) < 0.5
    total = list(angle.unbind(1))
    for k, above in enumerate(ABOVE):
        if above is not None:
            total[k] = total[k] + torch.where(whole, total[above], 0.0)
    angle = torch.stack(total, 1)
    stretch = torch.exp(0.4 * scale[:, None] * normal(bones) * hit)
    points = swapped(points, torch.rand(count, generator=g) < 1 / 7, g)
    starts, ends = ([bone[end] for bone in BONES] for end in (0, 1))
    x, y = ((points[:, ends, :2] - points[:, starts, :2]) * stretch.unsqueeze(-1)).unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    out = assemble(torch.stack([cos * x - sin * y, sin * x + cos * y], -1), points)
    size = (points[:, :, :2].amax(1) - points[:, :, :2].amin(1)).amax(1)
    jitter = (
        normal(18, 2)
        * (0.06 * scale * size * (torch.rand(count, generator=g) < 0.5))[:, None, None]
    )
    return torch.cat([out[..., :2] + jitter, out[..., 2:]], -1)


def swapped(points: Tensor, which: Tensor, g: torch.Generator) -> Tensor:
    """Elbows and wrists, or knees and ankles, of left and right exchanged."""
    out = points.clone()
    arms = torch.rand(len(points), generator=g) < 0.5
    for limbs, own in ((ARMS, which & arms), (LEGS, which & ~arms)):
        for a, b in zip(limbs[0][1:], limbs[1][1:], strict=True):
            out[:, a] = torch.where(own[:, None], points[:, b], out[:, a])
            out[:, b] = torch.where(own[:, None], points[:, a], out[:, b])
    return out


def nearest(vectors: Tensor, known: Tensor, bank: Tensor, rows: int = 256) -> Tensor:
    """Distance [B] of bones [B, 17, 2], known [B, 17], to the nearest of a bank of whole poses
    [N, 17, 2]: root mean square over the known bones, in torsos.
    """
    flat, square = bank.flatten(1), bank.square().sum(-1)
    out = []
    for v, m in zip(vectors.split(rows), known.split(rows), strict=True):
        cross = (v * m.unsqueeze(-1)).flatten(1) @ flat.mT
        own = (v.square().sum(-1) * m).sum(1, keepdim=True)
        far = own - 2 * cross + m @ square.mT
        out.append(far.amin(1).clamp_min(0) / m.sum(1).clamp_min(1))
    return torch.cat(out).sqrt()
