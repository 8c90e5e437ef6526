"""The hand model: what it promises whatever its weights."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from mannequin.hosts.hand_repair import repair
from mannequin.hosts.hands import HandModel, load_hand_model
from mannequin.lab.training import hands_random
from mannequin.methods.hand_pose import Hand, HandPoses, mirrored

pytest.importorskip("anny")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return hands_random.build(0, tmp_path_factory.mktemp("hands") / "random-hands.safetensors")


@pytest.fixture(scope="module")
def model(path):
    return load_hand_model(path)


def points():
    out = [[32.0, 56.0, 1.0]]
    for finger in range(5):
        angle = math.radians(-150 + 25 * finger)
        for joint in range(1, 5):
            far = 12 + 7 * joint
            out.append([32 + far * math.cos(angle), 56 + far * math.sin(angle), 1.0])
    return torch.tensor(out)


def poses(*lefts, at=None):
    at = points() if at is None else at
    return HandPoses(tuple(Hand(at, left, 0, (0, 0, 64)) for left in lefts), 64, 64)


def test_pictures_masks_and_latents_of_every_hand(model):
    made = model.paint(poses(False, True), seed=3, steps=2)
    assert made.pictures.shape == (2, 64, 64, 3) and made.masks.shape == (2, 64, 64)
    assert made.latents.shape == (2, 12, 16, 16)
    assert made.pictures.min() >= 0 and made.pictures.max() <= 1
    assert made.masks.min() >= 0 and made.masks.max() <= 1
    assert torch.isfinite(made.latents).all()


def test_a_seed_fixes_the_result_and_another_changes_it(model):
    first, again, other = (model.paint(poses(False), seed, 2).pictures for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_left_hand_is_the_mirror_image_of_a_right_one(model):
    right = model.paint(poses(False), 1, 2)
    left = model.paint(poses(True, at=mirrored(points(), 64.0)), 1, 2)
    torch.testing.assert_close(left.pictures, right.pictures.flip(2), atol=2e-3, rtol=0)
    torch.testing.assert_close(left.masks, right.masks.flip(2), atol=2e-3, rtol=0)


def test_a_left_hand_given_as_right_is_another_picture(model):
    right, left = (model.paint(poses(side), 1, 2).pictures for side in (False, True))
    assert torch.isfinite(right).all() and not torch.equal(right, left)


def test_no_hand_gives_nothing(model):
    made = model.paint(HandPoses((), 64, 64), 0, 2)
    assert made.pictures.shape == (0, 64, 64, 3) and made.masks.shape == (0, 64, 64)
    assert made.latents.shape == (0, 12, 16, 16)


def test_pose_skin_guidance_and_surroundings_count(model):
    plain = model.paint(poses(False), 1, 2).pictures
    moved = points()
    moved[5:9, :2] += 6
    others = (
        model.paint(poses(False, at=moved), 1, 2),
        model.paint(poses(False), 1, 2, skin=(0.8, 0.6, 0.5)),
        model.paint(poses(False), 1, 2, guidance=3.0),
        model.paint(
            poses(False), 1, 2, seen=torch.rand(1, 64, 64, 3), regions=torch.zeros(1, 64, 64)
        ),
    )
    assert all(not torch.equal(plain, other.pictures) for other in others)


def test_each_hand_may_have_its_own_skin(model):
    colours = torch.tensor([[0.8, 0.6, 0.5], [0.3, 0.2, 0.1]])
    both = model.paint(poses(False, False), 1, 2, skin=colours).pictures
    same = model.paint(poses(False, False), 1, 2, skin=colours[0].tolist()).pictures
    torch.testing.assert_close(both[0], same[0], atol=1e-4, rtol=0)
    assert not torch.allclose(both[1], same[1], atol=1e-4)


def test_what_is_painted_over_is_not_seen(model):
    regions = torch.ones(1, 64, 64)
    a, b = (
        model.paint(poses(False), 1, 2, seen=torch.full((1, 64, 64, 3), grey), regions=regions)
        for grey in (0.1, 0.9)
    )
    assert torch.equal(a.pictures, b.pictures)


def test_every_step_is_reported_and_may_stop(model):
    seen = []
    model.paint(poses(False), 1, 3, after=lambda k, x0: seen.append((k, tuple(x0.shape))))
    assert seen == [(k, (1, 16, 16, 16)) for k in range(3)]

    def stop(index, x0):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.paint(poses(False), 1, 3, after=stop)


def test_files_that_are_no_hand_model(path, tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load_hand_model(tmp_path / "missing.safetensors")
    stored = load_file(path)
    other = tmp_path / "other.safetensors"
    save_file({"unet.x": torch.zeros(1)}, other, {"mannequin": "{}"})
    with pytest.raises(ValueError, match="is not a hand model: expected tensors under net, vae"):
        load_hand_model(other)
    config = {"family": "mannequin-tiny-hands", "prediction": "sample", "size": 64}
    config |= {"zero_terminal_snr": True, "vae": {}, "net": {}}
    save_file(stored, other, {"mannequin": json.dumps(config)})
    with pytest.raises(ValueError, match="do not fit their configuration"):
        load_hand_model(other)


def test_a_hand_is_repaired_in_the_colour_of_the_old_one(model, monkeypatch):
    picture = torch.zeros(1, 64, 64, 3)
    picture[:, 8:60, 2:62] = torch.tensor([0.8, 0.6, 0.4])
    picture[:, 30:34] = 1.0  # rings do not change the median
    before, told, paint = picture.clone(), [], HandModel.paint

    def spy(self, hands, seed, steps, guidance, skin, **more):
        told.append(skin)
        return paint(self, hands, seed, steps, guidance, skin, **more)

    monkeypatch.setattr(HandModel, "paint", spy)
    repaired = repair(model, picture, poses(False), 1, steps=1)
    torch.testing.assert_close(told[0], torch.tensor([0.8, 0.6, 0.4]))
    assert torch.equal(picture, before) and repaired.mask.any()
    alone = points()
    alone[1:, 2] = 0  # one point makes no bone: the colour is not known
    again = repair(model, picture, poses(False, at=alone), 1, steps=1)
    assert told[1] is None and torch.equal(again.image, before)
