"""Reference pictures of any size become what the reference network is fed."""

import pytest
import torch

from mannequin.methods.references import join, reference_of

SIZE, POSE = (32, 24), 28


def encode(picture):
    return torch.nn.functional.avg_pool2d(picture.movedim(-1, 1), 4)


def make(image, dense_pose=None, channels=POSE):
    return reference_of(image, dense_pose, SIZE, encode, 2.0, channels)


def test_a_picture_of_the_models_size():
    image = torch.rand(2, *SIZE, 3)
    reference = make(image)
    assert torch.equal(reference.images, image)
    assert torch.equal(reference.latents, 2 * encode(image)[None])
    assert reference.dense_pose.shape == (1, 2, POSE, 8, 6) and not reference.dense_pose.any()


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((1, 1), SIZE),
        ((16, 12), SIZE),
        ((100, 75), (100, 75)),
        ((90, 90), (120, 90)),
        ((2000, 2000), (256, 192)),
    ],
)
def test_pictures_of_any_size_are_framed(size, kept):
    reference = make(torch.rand(1, *size, 4))
    assert reference.images.shape == (1, *kept, 3)
    assert reference.latents.shape == (1, 1, 3, 8, 6)


def test_the_dense_pose_is_framed_like_its_picture():
    pose = torch.zeros(1, 64, 48, 3)
    pose[:, 16:48, 12:36] = torch.tensor([20, 100, 50]) / 255
    small = pose[:, ::2, ::2]
    assert torch.equal(
        make(torch.rand(1, 64, 48, 3), pose).dense_pose, make(small, small).dense_pose
    )
    assert make(small, small).dense_pose[0, 0, 1].max() == 1


def test_a_network_without_pose_input_takes_none():
    assert make(torch.rand(1, *SIZE, 3), torch.zeros(1, *SIZE, 3), 0).dense_pose.shape[2] == 0


def test_joined_references_may_differ_in_size():
    first, second = make(torch.rand(1, *SIZE, 3)), make(torch.rand(2, 64, 48, 3))
    both = join(first, second)
    assert both.count == 3
    assert both.images.shape == (3, 64, 48, 3)
    assert torch.equal(both.latents, torch.cat([first.latents, second.latents], 1))
    assert torch.equal(both.images[1:], second.images)
    assert both.inputs.shape == (1, 3, 3 + POSE, 8, 6)


def test_a_pose_for_each_picture_or_none():
    with pytest.raises(ValueError, match=r"each of 2 reference picture\(s\); got 1"):
        make(torch.rand(2, *SIZE, 3), torch.zeros(1, *SIZE, 3))
    with pytest.raises(ValueError, match="not a dense pose"):
        make(torch.rand(1, *SIZE, 3), torch.rand(1, *SIZE, 3))
