"""The pose benchmark's pairs: the same people as elsewhere, hard ones found, and what is told."""

import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.lab.benchmarks.heldout import render_pairs
from mannequin.lab.benchmarks.pose_pairs import (
    HEIGHT,
    WIDTH,
    joints_of,
    pose_pairs,
    seen_joints_of,
)
from mannequin.lab.people import render_set
from mannequin.lab.people.body import HAND_L, UPPER_ARM_L

ARMS = range(UPPER_ARM_L, HAND_L + 2)


@pytest.fixture(scope="module")
def held():
    return pose_pairs(3, 2, 1)


def parts(pose):
    return (pose[..., 0] * 25.5).round().long()


def test_drawn_pairs_are_those_of_the_other_benchmarks(held):
    usual = render_pairs(3, 2)
    assert held.drawn == 2 and len(held) == len(held.people) == 5
    for name in ("source", "target", "label", "visible"):
        assert torch.equal(getattr(held.pairs, name)[:2], getattr(usual, name))
    told = held.found(0)
    assert torch.equal(told.source_pose[:2], usual.source_pose)
    assert torch.equal(told.target_pose[:2], usual.target_pose)
    assert not torch.equal(held.exact().target_pose[:2], usual.target_pose)


def test_joints_are_those_of_the_rendered_set(held):
    truth = torch.from_numpy(render_set(300_000, "heldout").keypoints)
    assert torch.equal(held.source_points[0], truth[0])
    assert torch.equal(held.target_points[0], truth[1])
    torch.testing.assert_close(joints_of(300_000)[..., :2], truth[:3, :, :2], atol=1e-3, rtol=0)
    assert torch.equal(seen_joints_of(300_000), truth[:3])


def test_sought_pairs_are_as_hard_as_was_asked(held):
    assert held.hard["crossed arms"][2] and held.hard["turned body"][3]
    assert held.hard["occlusion"][4]
    assert len({str(person) for person in held.people}) == 5


def test_an_imperfect_finder_is_a_pixel_off_and_does_not_see_through_things(held):
    exact, found = held.exact(), held.found(0)
    known = found.points[..., 2] > 0
    assert not (known & (held.target_points[..., 2] == 0)).any()
    apart = (found.points - exact.points)[known][:, :2]
    assert 0.5 < float(apart.square().mean().sqrt()) < 1.5
    assert (found.points[~known] == 0).all()
    at = exact.points[exact.points[..., 2] > 0]
    assert (at[:, 0] < WIDTH).all() and (at[:, 1] < HEIGHT).all() and (at >= 0).all()
    assert torch.equal(held.found(0).points, found.points)
    assert not torch.equal(held.found(1).points, found.points)


def test_one_arm_is_lost_and_nothing_else(held):
    found, armless = held.found(0), held.armless(0)
    before, after = parts(found.target_pose), parts(armless.target_pose)
    for old, new, pose in zip(before, after, armless.target_pose, strict=True):
        gone = set(old[new != old].tolist())
        assert len({part % 2 for part in gone}) == 1
        side = next(iter(gone)) % 2
        assert gone == {p for p in old.unique().tolist() if p in ARMS and p % 2 == side}
        assert (pose[new == 0] == 0).all()
    assert torch.equal(found.source_pose, armless.source_pose)
    assert torch.equal(found.points, armless.points)
