"""What is measured of a pose: how much of the source's is left, and which cases are hard.

All definitions are ours; points are the true ones of `lab/people`, [B, 18, 3] in pixels, with 1
where a point is in the picture and nothing else stands before it, or what a judge has found.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...methods.pose_maps import BODY

MOVED = 0.08  # shares of the picture's height: a point that moved less says nothing of leakage
TURNED = 0.47  # shoulders over trunk; half of the people that face us have more than 0.56
HIDDEN = 0.125  # share of the points in the picture that something covers
WORSE, LOST = 0.05, 0.01  # a twentieth more keypoint error, or so much less garment SSIM
NECK = BODY.names.index("neck")
SIDES = tuple(
    tuple(BODY.names.index(f"{side} {joint}") for joint in ("shoulder", "wrist", "hip"))
    for side in ("right", "left")
)


def inside(points: Tensor, height: int, width: int) -> Tensor:
    """Which points [B, 18, 3] lie in the picture, [B, 18]."""
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def leakage(found: Tensor, target: Tensor, source: Tensor, height: int, width: int) -> Tensor:
    """How far the points of a result stand on the way from the target's pose back to the source's,
    [B]: 0 at the target or beyond, 1 at the source or beyond.

    For every joint clamp(<r - t, s - t> / |s - t|^2, 0, 1), and the mean over those joints that are
    seen in the target, in the source's picture, and MOVED apart; NaN where none is. A judge's
    errors alone make it greater than 0, hence it is also reported of the true pictures.
    """
    at, back = target[..., :2], source[..., :2] - target[..., :2]
    apart = back.norm(dim=-1)
    counts = (target[..., 2] > 0) & inside(source, height, width) & (apart > MOVED * height)
    share = ((found[..., :2] - at) * back).sum(-1) / apart.square().clamp_min(1e-6)
    return (share.clamp(0, 1) * counts).sum(1) / counts.sum(1)


def _trunk(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Down the trunk, a unit vector [B, 2]; its length [B]; the picture's direction across [B, 2],
    from the person's right to the left.
    """
    at = points[..., :2]
    down = sum(at[:, hip] for _, _, hip in SIDES) / 2 - at[:, NECK]
    length = down.norm(dim=-1)
    down = down / length.clamp_min(1e-6).unsqueeze(-1)
    return down, length, torch.stack([down[:, 1], -down[:, 0]], -1)


def crossed(points: Tensor, height: int, width: int) -> Tensor:
    """A wrist in the picture is on the other side of the trunk than its shoulder: beyond the line
    from the neck to the middle of the hips, [B].
    """
    _, _, across = _trunk(points)
    aside = ((points[..., :2] - points[:, NECK, None, :2]) * across.unsqueeze(1)).sum(-1)
    seen = inside(points, height, width)
    over = [
        (aside[:, wrist] * aside[:, shoulder] < 0) & seen[:, wrist] for shoulder, wrist, _ in SIDES
    ]
    return over[0] | over[1]


def turned(points: Tensor) -> Tensor:
    """The body faces aside: its shoulders are narrower than TURNED of its trunk's length, [B]."""
    _, length, across = _trunk(points)
    (right, _, _), (left, _, _) = SIDES
    wide = ((points[:, left, :2] - points[:, right, :2]) * across).sum(-1).abs()
    return wide < TURNED * length


def hidden_share(points: Tensor, height: int, width: int) -> Tensor:
    """The share of the points in the picture that something covers, [B]."""
    there = inside(points, height, width)
    return (there & (points[..., 2] == 0)).sum(1) / there.sum(1).clamp_min(1)


def hard_cases(points: Tensor, height: int, width: int) -> dict[str, Tensor]:
    """Which poses [B, 18, 3] are hard, and why: {"crossed arms", "turned body", "occlusion"}, [B]
    each.
    """
    return {
        "crossed arms": crossed(points, height, width),
        "turned body": turned(points),
        "occlusion": hidden_share(points, height, width) >= HIDDEN,
    }


def reduction(
    ours: Tensor, plain: Tensor, seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """1 - mean(ours) / mean(plain) over pairs [N] measured both ways, NaN left out, and the ends
    of its 95% interval over resampled pairs.
    """
    known = ours.isfinite() & plain.isfinite()
    both = torch.stack([ours[known], plain[known]]).double()
    if not both.shape[1]:
        return (float("nan"),) * 3
    which = torch.randint(
        both.shape[1], (draws, both.shape[1]), generator=torch.Generator().manual_seed(seed)
    )
    a, b = both[:, which].mean(-1).clamp_min(1e-12)
    low, high = (1 - a / b).quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    mean = both.mean(1).clamp_min(1e-12)
    return float(1 - mean[0] / mean[1]), low, high


def turning_point(points: Sequence[Mapping[str, float]], name: str) -> tuple[float, float | None]:
    """Of a curve's points, each with "kp_error", "garment_ssim" and its place `name`: the place of
    least error, and the first beyond it where over-correction shows, by WORSE or LOST; None where
    it does not show as far as was measured.
    """
    best = min(points, key=lambda point: point["kp_error"])
    over = [
        point[name]
        for point in points
        if point[name] > best[name]
        and (
            point["kp_error"] > (1 + WORSE) * best["kp_error"]
            or point["garment_ssim"] < best["garment_ssim"] - LOST
        )
    ]
    return best[name], min(over, default=None)
