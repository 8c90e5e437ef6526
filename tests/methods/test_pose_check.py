"""Joints against joints: what counts, what does not, and what is drawn of it."""

import json
import math

import pytest
import torch

from mannequin.methods import pose_check, pose_target, pose_view

H, W = 128, 96


def figure(x=48.0, y=20.0, size=90.0):
    """An upright person's 18 points [18, 3]."""
    places = [
        *((0, 0.05), (0, 0.18), (-0.15, 0.2), (-0.2, 0.35), (-0.22, 0.5)),
        *((0.15, 0.2), (0.2, 0.35), (0.22, 0.5)),
        *((-0.08, 0.52), (-0.08, 0.75), (-0.08, 1.0), (0.08, 0.52), (0.08, 0.75), (0.08, 1.0)),
        *((-0.02, 0.03), (0.02, 0.03), (-0.05, 0.04), (0.05, 0.04)),
    ]
    points = torch.tensor(places) * size + torch.tensor([x, y])
    return torch.cat([points, torch.ones(18, 1)], 1)


def frame(*bodies, **more):
    people = [{"pose_keypoints_2d": body.flatten().tolist()} for body in bodies]
    return {"people": people, "canvas_width": W, "canvas_height": H, **more}


def shifted(points, *joints, by=(0.0, 0.0)):
    out = points.clone()
    out[list(joints), :2] += torch.tensor(by)
    return out


def test_equal_poses_are_right_and_every_shift_is_measured():
    target = figure()[None]
    same = pose_check.check(target, target, H, W)
    assert same.pck == 1 and same.error == 0
    moved = pose_check.check(target, shifted(target[0], *range(18), by=(3, 4))[None], H, W, 0.1)
    assert moved.error == pytest.approx(5, abs=1e-5) and moved.pck == 1
    assert pose_check.check(target, moved.measured, H, W, 0.05).pck == 0


def test_the_unit_is_the_longer_side_of_the_targets_box():
    target = figure()[None]
    tall = float(target[..., 1].max() - target[..., 1].min())
    for share, near in ((0.99, True), (1.01, False)):
        wrong = shifted(target[0], 4, by=(-0.1 * tall * share, 0))[None]
        result = pose_check.check(target, wrong, H, W, 0.1)
        assert bool(result.near[0, 4]) is near and result.near.sum() == 17 + near
        assert float(result.unit) == pytest.approx(tall, abs=1e-4)


def test_a_point_not_found_is_wrong_but_has_no_distance():
    target, measured = figure()[None], figure()[None]
    measured[0, 4, 2] = 0
    result = pose_check.check(target, measured, H, W)
    assert result.pck == pytest.approx(17 / 18) and result.error == 0
    assert result.distances[0, 4].isnan()
    assert "right wrist: 0 of 1 (0%), mean error not known" in result.table()


def test_points_missing_or_outside_of_the_picture_are_not_asked_for():
    target, measured = figure()[None], shifted(figure(), 10, by=(40, 0))[None]
    target[0, 3, 2] = 0
    target[0, 10, 1] = H + 5.0
    target[0, 13, 0] = -0.5
    result = pose_check.check(target, measured, H, W)
    assert result.wanted.sum() == 15 and result.pck == 1
    nothing = pose_check.check(torch.zeros(1, 18, 3), measured, H, W)
    assert math.isnan(nothing.pck) and math.isnan(nothing.error)
    assert "no point of the target is in the picture" in nothing.table()


def test_the_table_names_the_worst_joint_of_every_picture():
    target = figure().expand(2, -1, -1)
    measured = torch.stack([shifted(figure(), 7, by=(0, 12)), torch.zeros(18, 3)])
    text = pose_check.check(target, measured, H, W).table()
    lines = text.splitlines()
    assert lines[0] == "PCK@0.05 17 of 36 (47%), mean error 0.7 px"
    assert lines[1] == "picture 1: 17 of 18 (94%), mean error 0.7 px, worst left wrist 12.0 px"
    assert lines[2] == "picture 2: 0 of 18 (0%), mean error not known, nobody was found"
    assert len(lines) == 3 + 18 and "left wrist: 0 of 2 (0%), mean error 12.0 px" in lines


def test_of_several_people_the_nearest_is_measured():
    near, far = figure(50), figure(20, 15, 60)
    bodies = pose_check.people([frame(far, near)], H, W)
    target = figure()[None]
    torch.testing.assert_close(pose_check.nearest(bodies, target)[0], near)
    torch.testing.assert_close(pose_check.chosen(bodies, 1, 1)[0], far)
    nobody = pose_check.nearest((torch.zeros(0, 18, 3),), target)
    assert pose_check.check(target, nobody, H, W).pck == 0
    unknown = torch.zeros(1, 18, 3)
    assert not pose_check.nearest((unknown,), target).any()


def test_one_pose_serves_a_batch_and_other_numbers_are_told():
    bodies = pose_check.people(json.dumps(frame(figure())), H, W)
    assert pose_check.chosen(bodies, 3).shape == (3, 18, 3)
    assert pose_check.nearest(bodies, figure().expand(3, -1, -1)).shape == (3, 18, 3)
    two = pose_check.people([frame(figure()), frame(figure())], H, W)
    for refuse in (
        lambda: pose_check.chosen(two, 3),
        lambda: pose_check.nearest(two, figure().expand(3, -1, -1)),
    ):
        with pytest.raises(ValueError, match=r"1 or 3 picture\(s\) as the .*; got 2"):
            refuse()
    with pytest.raises(ValueError, match="body number 2 in picture 1 of the target; there are 1"):
        pose_check.chosen(bodies, 1, 2)
    with pytest.raises(ValueError, match="body number 1 in picture 1"):
        pose_check.chosen(pose_check.people([{"people": []}], H, W), 1)


def test_another_skeleton_is_refused():
    body25 = {"people": [{"pose_keypoints_2d": [1.0] * 75}]}
    with pytest.raises(ValueError, match=r"Expected 18 points of a body.*; got 75 numbers"):
        pose_check.people(body25, H, W)


def test_keypoints_of_another_canvas_are_scaled():
    half = frame(figure() * torch.tensor([0.5, 0.5, 1]), canvas_width=W / 2, canvas_height=H / 2)
    torch.testing.assert_close(pose_check.people([half], H, W)[0][0], figure())


def test_a_target_in_pixels_names_its_canvas_in_every_form():
    share = figure() / torch.tensor([W, H, 1])
    bare = {"people": frame(figure())["people"]}
    for named in (frame(figure()), json.dumps([frame(figure())]), [frame(share)]):
        torch.testing.assert_close(pose_target.shares(named)[0], share)
    for given in ([bare], bare, json.dumps(bare), [{**bare, "canvas_width": W}]):
        with pytest.raises(ValueError, match="name their canvas"):
            pose_target.shares(given)
    with pytest.raises(ValueError, match=r"of 1 picture\(s\) as the target; got 0"):
        pose_target.shares([])


def test_the_overlay_shows_both_poses_and_what_is_far():
    target = figure()[None]
    grey = torch.full((1, H, W, 3), 0.5)
    right = pose_view.overlay(grey, pose_check.check(target, target, H, W))
    assert right.shape == (1, 768, 576, 3) and right.max() <= 1
    wrong = shifted(figure(), 4, by=(-20, 10))[None]
    result = pose_check.check(target, wrong, H, W)
    drawn = pose_view.overlay(grey, result)
    red = torch.tensor(pose_view.FAR) / 255

    def redness(picture):
        return ((picture - red).abs().amax(-1) < 0.02).sum()

    assert redness(right) == 0 and redness(drawn) > 50
    middle = (target[0, 4, :2] + wrong[0, 4, :2]) / 2 * 6
    x, y = middle.int().tolist()
    assert redness(drawn[:, y - 4 : y + 4, x - 4 : x + 4]) > 0
