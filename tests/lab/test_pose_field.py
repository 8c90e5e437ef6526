"""Poses without pictures, how they are broken, and the field's training."""

import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.lab.people import recipe_of, render_set
from mannequin.lab.training import pose_field, pose_field_data
from mannequin.lab.training.pose_field_data import (
    MIRRORED,
    broken,
    joints_of,
    lose_points,
    nearest,
    seen_from,
    swapped,
    valid_poses,
)
from mannequin.methods.pose_field import BONES, PoseField
from mannequin.methods.pose_maps import BODY

RIGHT_ELBOW, LEFT_ELBOW = BODY.names.index("right elbow"), BODY.names.index("left elbow")


@pytest.fixture(scope="module")
def poses():
    return valid_poses(0, 4, "train")


def lengths(points):
    starts, ends = zip(*BONES, strict=True)
    return (points[:, ends, :2] - points[:, starts, :2]).norm(dim=-1)


def test_joints_are_those_of_the_renderer_but_for_the_clothes(monkeypatch):
    """The same pose, through the renderer and without it."""
    recipe = recipe_of(3, "train")
    monkeypatch.setattr(pose_field_data, "sample_pose", lambda rng: recipe.shots[0].angles)
    joints = joints_of(3, "train", 1)
    points = seen_from(joints, None, 1)[0, :, :2]
    truth = torch.from_numpy(render_set(3, "train").keypoints[0, :, :2])

    def fit(p):
        p = p - p.mean(0)
        return p / p.norm()

    assert (fit(points) - fit(truth)).norm(dim=-1).max() < 0.03


def test_poses_are_people_seen_from_many_sides(poses):
    assert poses.shape == (4 * pose_field_data.POSES * pose_field_data.VIEWS, 18, 3)
    head, hip = poses[:, 0, 1], poses[:, [8, 11], 1].mean(1)
    ankle = poses[:, [10, 13], 1].amax(1)
    assert (head < hip).all() and (hip < ankle).all()
    assert (poses[:, 2, 0] < poses[:, 5, 0]).float().mean() > 0.97  # the right shoulder is left
    assert torch.equal(valid_poses(0, 4, "train"), poses)
    assert not torch.equal(valid_poses(0, 4, "heldout"), poses)
    views = poses.unflatten(0, (pose_field_data.VIEWS, -1))
    width = (views[..., 2, 0] - views[..., 5, 0]).abs()
    assert (width.std(0) > 0.5).all()


def test_left_and_right_are_exchanged_in_a_mirror():
    assert [BODY.names[k] for k in MIRRORED][:4] == ["nose", "neck", "left shoulder", "left elbow"]
    assert [MIRRORED[k] for k in MIRRORED] == list(range(18))


def test_points_are_lost_but_stay_where_they_were(poses):
    less = lose_points(poses, torch.Generator().manual_seed(0))
    assert torch.equal(less[..., :2], poses[..., :2])
    missing = (less[..., 2] == 0).float().mean(0)
    assert missing[10] > 0.4 > missing[8] > missing[1] > 0
    assert not less[less[:, 11, 2] == 0][..., 2].all(1).any()


def test_broken_poses_are_broken_by_their_scale(poses):
    g = torch.Generator().manual_seed(0)
    field = PoseField()
    means = []
    for scale in (0.0, 0.1, 0.4, 1.0):
        out = broken(poses, torch.full((len(poses),), scale), g)
        assert out.isfinite().all() and torch.equal(out[..., 2], poses[..., 2])
        means.append(float((field.vectors(out)[0] - field.vectors(poses)[0]).abs().mean()))
    assert means == sorted(means) and means[0] > 0
    same = broken(poses, torch.zeros(len(poses)), g)
    kept = (same - poses).abs().amax((1, 2)) < 1e-3
    assert 0.7 < kept.float().mean() < 0.98  # one in seven has limbs exchanged


def test_exchanged_limbs(poses):
    which = torch.tensor([True, True, False] * 40)
    out = swapped(poses, which, torch.Generator().manual_seed(0))
    assert torch.equal(out[~which], poses[~which])
    arms = (out[:, LEFT_ELBOW] == poses[:, RIGHT_ELBOW]).all(1)
    legs = (out[:, 12] == poses[:, 9]).all(1)
    assert torch.equal(arms ^ legs, which) and arms.any() and legs.any()


def test_the_nearest_pose_is_found_over_the_known_bones():
    g = torch.Generator().manual_seed(0)
    bank, v = torch.randn(50, 17, 2, generator=g), torch.randn(7, 17, 2, generator=g)
    known = (torch.rand(7, 17, generator=g) < 0.6).float()
    far = nearest(v * known.unsqueeze(-1), known, bank, rows=3)
    for k in range(7):
        own = known[k] > 0
        each = (bank[:, own] - v[k, own]).square().sum(-1).mean(1).sqrt()
        torch.testing.assert_close(far[k], each.min(), rtol=1e-4, atol=1e-5)
    assert nearest(bank[:3], torch.ones(3, 17), bank).max() < 1e-3


def test_the_area_under_the_curve():
    auc = pose_field.auc
    assert auc(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])) == 1
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 0
    assert auc(torch.tensor([1.0, 1.0]), torch.tensor([1.0])) == 0.5
    assert auc(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0])) == 5 / 8
    low, high = torch.tensor([2.0, 0.0, 1.0]), torch.tensor([3.0, 1.5])
    assert auc(low, high) == pytest.approx(5 / 6) and auc(high, low) == pytest.approx(1 / 6)


def test_usual_lengths_make_a_torso_of_one(poses):
    usual = pose_field.usual_lengths(poses)
    torch.testing.assert_close((usual[6] + usual[9]) / 2, torch.tensor(1.0))
    assert 0.2 < usual[0] < 0.5 and (usual > 0.05).all()


def test_it_learns_to_tell_broken_poses_and_goes_on(tmp_path, monkeypatch, poses):
    """A few hundred poses, a minute's training in small: the loss falls and broken poses rank
    above poses of other people.
    """
    monkeypatch.setattr(pose_field, "shard_poses", lambda folder: poses)
    monkeypatch.setattr(pose_field, "BATCH", 48)
    shape = {"code": 4, "inner": 8, "width": 32}
    monkeypatch.setattr(pose_field, "pose_config", lambda: {"field": shape})
    pose_field.run(tmp_path, 150, people=4, count=512)
    field = pose_field.run(tmp_path, 300, people=4, count=512)
    _, told = pose_field.load_field(tmp_path / pose_field.FILE)
    assert told["steps"] == 300
    unseen = valid_poses(100, 2, "heldout") + torch.tensor([48.0, 60.0, 0.0])
    found = pose_field.evaluate(field, unseen)
    assert found["auc_0.8"] > 0.9 and found["auc_0.8"] > found["auc_0.05"]
    assert found["mended_0.8"] < found["far_0.8"]
    with pytest.raises(ValueError, match="train pose-field"):
        pose_field.load_field(tmp_path / "none.safetensors")
