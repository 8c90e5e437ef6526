"""The pose benchmark's definitions mean what they say, on poses made up for it."""

import math

import pytest
import torch

from mannequin.lab.benchmarks.pose_measures import (
    crossed,
    hard_cases,
    hidden_share,
    inside,
    leakage,
    reduction,
    turned,
    turning_point,
)
from mannequin.methods.pose_maps import BODY

HEIGHT, WIDTH = 128, 96
PERSON = {
    "nose": (48, 20),
    "neck": (48, 36),
    "right shoulder": (32, 38),
    "right elbow": (28, 62),
    "right wrist": (27, 84),
    "left shoulder": (64, 38),
    "left elbow": (68, 62),
    "left wrist": (69, 84),
    "right hip": (39, 90),
    "right knee": (40, 150),
    "right ankle": (40, 190),
    "left hip": (57, 90),
    "left knee": (56, 150),
    "left ankle": (56, 190),
    "right eye": (45, 17),
    "left eye": (51, 17),
    "right ear": (41, 19),
    "left ear": (55, 19),
}


def person(**moved):
    """Somebody who faces us, arms hanging, [1, 18, 3]; joints named with _ are moved."""
    at = PERSON | {name.replace("_", " "): place for name, place in moved.items()}
    points = torch.tensor([[*at[name], 1.0] for name in BODY.names])[None].float()
    points[..., 2] = inside(points, HEIGHT, WIDTH).float()
    return points


def tilted(points, degrees):
    """Turned in the picture's plane around its middle."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = torch.tensor([WIDTH / 2, HEIGHT / 2])
    out = points.clone()
    out[..., :2] = (points[..., :2] - middle) @ turn + middle
    return out


def test_points_on_the_edges_of_the_picture():
    points = torch.tensor([[[0.0, 0, 1], [96, 5, 1], [95.9, 127.9, 1], [-0.1, 5, 1]]])
    assert inside(points, HEIGHT, WIDTH).tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_leakage_is_the_share_of_the_way_back_to_the_source(share):
    target = person(left_wrist=(80, 30), right_wrist=(10, 40))
    source = person()
    found = target + share * (source - target)
    assert float(leakage(found, target, source, HEIGHT, WIDTH)) == pytest.approx(share, abs=1e-5)


def test_leakage_counts_the_way_alone_and_no_further_than_its_ends():
    target, source = person(left_wrist=(69, 44)), person()
    wrist = BODY.names.index("left wrist")
    for at, expected in (((49, 44), 0), ((89, 64), 0.5), ((69, 20), 0), ((69, 120), 1)):
        found = target.clone()
        found[0, wrist, :2] = torch.tensor(at).float()
        assert float(leakage(found, target, source, HEIGHT, WIDTH)) == pytest.approx(expected)


def test_leakage_leaves_out_what_moved_little_or_is_not_seen():
    source = person(left_wrist=(69, 94), right_wrist=(27, 90))
    target = person()
    found = source.clone()  # left wrist 10 px (counts: 10.24 px are asked for, so not), right 6 px
    assert leakage(found, target, source, HEIGHT, WIDTH).isnan().all()
    target[0, BODY.names.index("left wrist"), 1] -= 2
    assert float(leakage(found, target, source, HEIGHT, WIDTH)) == 1
    covered = target.clone()
    covered[0, BODY.names.index("left wrist"), 2] = 0
    assert leakage(found, covered, source, HEIGHT, WIDTH).isnan().all()
    outside = source.clone()
    outside[0, BODY.names.index("left wrist"), 1] = 140
    assert leakage(found, target, outside, HEIGHT, WIDTH).isnan().all()


@pytest.mark.parametrize("degrees", [0, 20, -35, 90, 180])
def test_arms_cross_when_a_wrist_passes_the_trunks_own_middle(degrees):
    hanging, before = person(), person(left_wrist=(52, 70))
    beyond = person(left_wrist=(40, 70), left_elbow=(60, 66))
    both = torch.cat([tilted(p, degrees) for p in (hanging, before, beyond)])
    assert crossed(both, 400, 400).tolist() == [False, False, True]


def test_a_wrist_outside_the_picture_crosses_nothing():
    assert not crossed(person(left_wrist=(40, 130)), HEIGHT, WIDTH)
    assert crossed(person(left_wrist=(40, 127)), HEIGHT, WIDTH)


def test_narrow_shoulders_are_a_turned_body_whatever_its_size_or_tilt():
    facing, aside = person(), person(left_shoulder=(59, 38), right_shoulder=(37, 38))
    small = aside.clone()
    small[..., :2] *= 0.5
    poses = torch.cat([facing, aside, small, tilted(facing, 30), tilted(aside, 30)])
    assert turned(poses).tolist() == [False, True, True, False, True]


def test_the_hidden_share_is_of_points_in_the_picture():
    points = person()
    assert float(hidden_share(points, HEIGHT, WIDTH)) == 0
    there = int(inside(points, HEIGHT, WIDTH).sum())
    assert there == 14
    points[0, :2, 2] = 0
    assert float(hidden_share(points, HEIGHT, WIDTH)) == pytest.approx(2 / 14)
    reasons = hard_cases(points, HEIGHT, WIDTH)
    assert [name for name, rows in reasons.items() if rows.any()] == ["occlusion"]


def test_a_reduction_comes_with_the_interval_of_its_pairs():
    g = torch.Generator().manual_seed(0)
    plain = 1 + torch.rand(200, generator=g)
    ours = 0.5 * plain
    ours[3] = torch.nan
    assert reduction(ours, plain) == pytest.approx((0.5, 0.5, 0.5))
    mean, low, high = reduction(torch.rand(200, generator=g), plain)
    assert low < mean < high and high - low < 0.2
    assert all(math.isnan(x) for x in reduction(plain * torch.nan, plain))


def curve(*pairs):
    return [
        {"scale": float(k), "kp_error": error, "garment_ssim": similar}
        for k, (error, similar) in enumerate(pairs)
    ]


def test_over_correction_shows_in_the_error_or_in_the_clothes():
    falling = curve((0.3, 0.5), (0.2, 0.5), (0.1, 0.5))
    assert turning_point(falling, "scale") == (2, None)
    assert turning_point(curve((0.3, 0.5), (0.1, 0.5), (0.102, 0.5)), "scale") == (1, None)
    assert turning_point(curve((0.3, 0.5), (0.1, 0.5), (0.11, 0.5)), "scale") == (1, 2)
    blurred = curve((0.3, 0.5), (0.1, 0.5), (0.101, 0.5), (0.101, 0.48))
    assert turning_point(blurred, "scale") == (1, 3)
    assert turning_point(curve((0.1, 0.5), (0.2, 0.5), (0.3, 0.5)), "scale") == (0, 1)
