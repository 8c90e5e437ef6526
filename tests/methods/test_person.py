import pytest
import torch

from mannequin.methods.person import (
    DENSE_POSE_CHANNELS,
    check_dense_pose,
    encode_dense_pose,
    generator_concat,
    latent_mask,
)


def dense_pose() -> torch.Tensor:
    iuv = torch.zeros(1, 16, 12, 3)
    iuv[:, :8, :, 0] = 30 / 255
    iuv[:, :8, :, 1:] = 128 / 255
    return iuv


def test_parts_and_waves_are_pooled_over_cells():
    code = encode_dense_pose(dense_pose(), (4, 3))
    assert code.shape == (1, DENSE_POSE_CHANNELS, 4, 3)
    assert torch.equal(code[0, 2, :2], torch.ones(2, 3)), "part 3 fills the upper half"
    assert code[0, :, 2:].abs().max() == 0, "background is zero"
    wave = torch.sin(torch.tensor(2 * torch.pi * 128 / 255))
    torch.testing.assert_close(code[0, 16, 0, 0], wave, atol=1e-5, rtol=0)


def test_a_black_picture_means_unknown():
    assert not encode_dense_pose(torch.zeros(2, 8, 8, 3), (2, 2)).any()


def test_a_dense_pose_passes_the_check():
    check_dense_pose(dense_pose())


@pytest.mark.parametrize(
    "picture",
    [
        torch.rand(1, 16, 12, 3),
        torch.full((1, 16, 12, 3), 170 / 255),
        torch.full((1, 4, 4, 3), 0.5),
    ],
)
def test_a_photograph_does_not(picture):
    with pytest.raises(ValueError, match="not a dense pose: expected red = 10 x part"):
        check_dense_pose(picture)


def test_a_shape_that_is_no_picture():
    with pytest.raises(ValueError, match=r"\(16, 12\)"):
        check_dense_pose(torch.zeros(16, 12))


def test_a_touched_cell_is_repainted():
    mask = torch.zeros(1, 8, 8)
    mask[0, 0, 7] = 1
    cells = latent_mask(mask, (2, 2))
    assert cells.tolist() == [[[[0, 1], [0, 0]]]]


def test_concat_follows_the_published_order():
    parts = [torch.full((1, n, 2, 2), float(i)) for i, n in enumerate((1, 3, 2))]
    assert generator_concat(*parts)[0, :, 0, 0].tolist() == [0, 1, 1, 1, 2, 2]
