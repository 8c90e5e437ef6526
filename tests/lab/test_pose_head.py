"""What the head learns from, its loss, its training, and the file that ships."""

import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.hosts import diffusers as host
from mannequin.hosts.pose_head import KeypointHead, read_pose_model
from mannequin.lab.people import write_shards
from mannequin.lab.training import models, pose_field, pose_head, pose_head_data
from mannequin.lab.training.pose_field_data import MIRRORED
from mannequin.lab.training.pose_head_data import LEVELS, LatentPool, worn
from mannequin.lab.training.pose_head_random import pose_config

NARROW = pose_config(narrow=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head-work")
    write_shards(folder / "train", 0, 1, "train")
    write_shards(folder / "heldout", 0, 1, "heldout")
    models.build(0, folder / "person.safetensors")
    return folder


@pytest.fixture(scope="module")
def person(work):
    return host.load_person_model(work / "person.safetensors")


@pytest.fixture(scope="module")
def pool(work, person):
    return LatentPool(work / "train", person[1], 1.0)


def test_a_mirrored_latent_is_that_of_the_mirrored_picture(pool, person):
    which = torch.tensor([1, 1])
    latents, points = pool.take(which, torch.tensor([False, True]))
    image = pool.pool.image[1] / 255
    for latent, picture in zip(latents, (image, image.flip(1)), strict=True):
        torch.testing.assert_close(latent, person[1].encode(picture[None])[0])
    truth = pool.pool.points[1]
    assert torch.equal(points[0], truth)
    torch.testing.assert_close(points[1, 2, 0], 96 - truth[5, 0])
    torch.testing.assert_close(points[1][MIRRORED, 1:], truth[:, 1:])


def test_worn_latents_are_blurred_mixed_and_noised_each_by_its_own_amount(monkeypatch):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(64, 3, 12, 9, generator=g)
    out = worn(z, g)
    change = (out - z).flatten(1).square().mean(1).sqrt()
    assert 3 < int((change == 0).sum()) < 30 and change.std() > 0.1
    assert out.shape == z.shape and out.isfinite().all()
    monkeypatch.setattr(pose_head_data, "NOISE", 0.0)
    monkeypatch.setattr(pose_head_data, "CLEAN", 0.0)
    calm = worn(z, g)
    torch.testing.assert_close(
        calm.std((2, 3)).lt(z.std((2, 3)) + 1e-5).float().mean(), torch.tensor(1.0)
    )
    flat = torch.ones(2, 3, 12, 9)
    torch.testing.assert_close(worn(flat, g), flat)


def test_predictions_come_at_every_level_with_their_points(work, person):
    made = pose_head_data.predict(*person, work / "train", 8 * len(LEVELS), 3)
    assert made.x0.shape == (48, 12, 32, 24) and made.x0.isfinite().all()
    assert made.timestep.tolist() == [t for t in LEVELS for _ in range(8)]
    known = pose_head_data.shard_points(work / "train")
    for points in made.points:
        assert any(torch.equal(points, other) for other in known[:3])
    again = pose_head_data.predict(*person, work / "train", 8, 3)
    assert torch.equal(again.x0, made.x0[:8])


def test_the_loss_falls_at_the_true_places_and_leaves_out_what_is_outside():
    class Told(KeypointHead):
        def maps(self, latents):
            return self.fixed

    head = Told(4, 4, (16, 16))
    points = torch.rand(2, 18, 3, generator=torch.Generator().manual_seed(0))
    points[..., :2] = points[..., :2] * 20 + 5
    points[..., 2] = 1
    far = (head.middles(8, 8, points) - points[..., None, :2]).square().sum(-1)
    right = (-far / (2 * (pose_head.PEAK * 4) ** 2)).unflatten(-1, (8, 8))

    def loss(places, truth, seen=0.0):
        head.fixed = places, torch.full_like(places, seen)
        return {k: float(v) for k, v in pose_head.head_loss(head, torch.zeros(0), truth).items()}

    good, bad = loss(right, points), loss(right.flip(-1), points)
    assert good["map"] < bad["map"] and good["place"] < 0.01 < bad["place"]
    assert good["total"] < bad["total"]
    outside = points.clone()
    outside[:, 3:, 0] = 40.0
    outside[:, 3:, 2] = 0
    wrong = right.clone()
    wrong[:, 3:] = right[:, 3:].flip(-1)
    assert loss(wrong, outside)["map"] == loss(right, outside)["map"]
    assert loss(right, points, 4.0)["seen"] < loss(right, points, -4.0)["seen"]


def test_it_trains_measures_writes_and_goes_on(work, monkeypatch):
    monkeypatch.setattr(pose_head, "BATCH", 4)
    monkeypatch.setattr(pose_head, "UNSEEN_PREDICTED", 8)
    monkeypatch.setattr(pose_head, "pose_config", lambda: NARROW)
    monkeypatch.setattr(pose_field, "pose_config", lambda: NARROW)
    out = work / "out" / "pose.safetensors"

    def run(steps, file, **options):
        return pose_head.run(work, file, steps, work / "person.safetensors", **options)

    with pytest.raises(ValueError, match="train pose-field"):
        run(1, out)
    from mannequin.lab.training.loop import Schedule, Trainer
    from mannequin.methods.pose_field import PoseField

    field = PoseField(**NARROW["field"])
    Trainer({"field": field}, Schedule(1), work / pose_field.FILE, 0).save()
    run(1, out, predicted=8)
    first = read_pose_model(out)
    found = run(3, out, predicted=8)
    last = read_pose_model(out)
    assert last.provenance["steps"] == 3 and last.provenance["heldout_error"] == found
    assert {"clean", "worn", "predicted_999", "seen"} <= set(found)
    moved = [
        name
        for name, t in last.head.state_dict().items()
        if not torch.equal(t, first.head.state_dict()[name])
    ]
    assert "enter.0.weight" in moved and "leave.bias" in moved
    for name, t in field.state_dict().items():
        torch.testing.assert_close(last.field.state_dict()[name], t.half().float())
    last.check(models.person_config())
    other = run(1, None, wear=False, predicted=0)
    assert other != found and (work / "pose-head-unworn-unpredicted.safetensors").exists()
