"""The field's geometry, what it may and may not depend on, and its walk downhill."""

import pytest
import torch

from mannequin.methods.pose_field import BONES, FEWEST, PoseField, assemble


@pytest.fixture(scope="module")
def field():
    torch.manual_seed(0)
    net = PoseField(code=4, inner=8, width=16)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return net.requires_grad_(False)


@pytest.fixture
def points():
    g = torch.Generator().manual_seed(1)
    place = torch.rand(3, 18, 2, generator=g) * 80 + 10
    return torch.cat([place, torch.ones(3, 18, 1)], -1)


def without(points, *which):
    out = points.clone()
    out[:, which, 2] = 0
    return out


def test_bones_are_a_tree_with_parents_first():
    reached = {1}
    for parent, child in BONES:
        assert parent in reached and child not in reached
        reached.add(child)
    assert reached == set(range(18))


def test_place_and_size_in_the_picture_do_not_count(field, points):
    there = points * torch.tensor([3.0, 3.0, 1.0]) + torch.tensor([40.0, -7.0, 0.0])
    torch.testing.assert_close(field.distance(there), field.distance(points), rtol=1e-4, atol=1e-5)
    turned = points[:, :, [1, 0, 2]]
    assert (field.distance(turned) - field.distance(points)).abs().max() > 1e-3


def test_the_torso_is_measured_by_the_trunk_and_bones_come_in_torsos(field, points):
    vectors, known, torso = field.vectors(points)
    assert known.all()
    span = points[:, 2, :2] - points[:, 1, :2]
    torch.testing.assert_close(vectors[:, 0] * torso[:, None], span)
    lengths = (points[:, [2, 5, 8, 11], :2] - points[:, 1:2, :2]).norm(dim=-1)
    assert ((torso - lengths.mean(1)).abs() < 0.05 * lengths.mean(1)).all()


def test_points_that_are_not_known_do_not_count_and_get_no_gradient(field, points):
    less = without(points, 4, 9)
    other = less.clone()
    other[:, [4, 9], :2] = 1e3
    torch.testing.assert_close(field.distance(other), field.distance(less), rtol=0, atol=0)
    less.requires_grad_(True)
    (slope,) = torch.autograd.grad(field.distance(less).sum(), less)
    assert slope[:, [4, 9]].abs().max() == 0
    assert slope[:, [2, 3, 8]].abs().amax() > 0 and slope.isfinite().all()


def test_nothing_known_is_no_distance(field, points):
    nobody = points * torch.tensor([1.0, 1.0, 0.0])
    one_bone = without(points, 0, *range(3, 18))
    assert FEWEST == 2
    for pose in (nobody, one_bone):
        pose.requires_grad_(True)
        far = field.distance(pose)
        assert far.tolist() == [0, 0, 0]
        (slope,) = torch.autograd.grad(far.sum(), pose)
        assert slope.isfinite().all() and slope.abs().max() == 0


def test_all_points_in_one_place_have_a_finite_gradient(field):
    pose = torch.ones(1, 18, 3, requires_grad=True)
    far = field.distance(pose)
    (slope,) = torch.autograd.grad(far.sum(), pose)
    assert far.isfinite().all() and slope.isfinite().all()


def test_another_skeleton_is_told(field):
    with pytest.raises(ValueError, match=r"poses of 18 points.*\[2, 17, 3\].*OpenPose"):
        field.distance(torch.ones(2, 17, 3))


def test_bones_put_together_again_are_the_pose(points):
    starts, ends = zip(*BONES, strict=True)
    less = without(points, 3)
    spans = points[:, ends, :2] - points[:, starts, :2]
    torch.testing.assert_close(assemble(spans, less), less)
    spans = spans.clone()
    spans[:, 0] += 5  # the right shoulder; elbow 3 is missing, so the wrist hangs on nothing
    moved = assemble(spans, less)
    torch.testing.assert_close(moved[:, 2, :2], less[:, 2, :2] + 5)
    torch.testing.assert_close(moved[:, 4], less[:, 4])


class Round(PoseField):
    """A true distance field: from the pose whose bones all are `aim`."""

    aim = torch.tensor([0.3, 0.4])

    def forward(self, vectors, known):
        away = ((vectors - self.aim).square().sum(-1) * known).sum(1)
        return (away / known.sum(1).clamp_min(1)).sqrt()


def test_a_walk_down_a_true_distance_field_arrives(points):
    field = Round(code=4, inner=8, width=16)
    less = without(points, 4)
    with torch.inference_mode():
        walk = field.mend(less.clone(), steps=1, rate=1.0)
    _, known, torso = field.vectors(less)
    starts, ends = zip(*BONES, strict=True)
    spans = (walk[1][:, ends, :2] - walk[1][:, starts, :2]) / torso[:, None, None]
    wanted = Round.aim.expand_as(spans)[known > 0]
    torch.testing.assert_close(spans[known > 0], wanted, rtol=1e-3, atol=1e-4)
    assert torch.equal(walk[0], less) and torch.equal(walk[1][:, [1, 4]], less[:, [1, 4]])
    half = field.mend(less, steps=4, rate=0.5)
    far = torch.stack([field(field.vectors(pose)[0], known) for pose in half])
    assert (far.diff(dim=0) < 0).all()
