import pytest
import torch

from mannequin.lab.benchmarks.metrics import (
    detail_correlation,
    flow_epe,
    garment,
    nearest_iuv_warp,
    psnr,
    ssim,
)
from mannequin.methods.flow import identity

EVERYWHERE = torch.ones(1, 24, 18, dtype=torch.bool)


@pytest.fixture
def picture():
    return torch.rand(1, 24, 18, 3, generator=torch.Generator().manual_seed(0))


def test_psnr_of_a_known_error(picture):
    assert psnr(picture, picture + 0.1, EVERYWHERE) == pytest.approx(20, abs=1e-3)


def test_psnr_counts_only_where_it_is_asked_to(picture):
    other = picture.clone()
    other[:, :12] += 0.5
    where = EVERYWHERE.clone()
    where[:, :12] = False
    assert psnr(other, picture, where) == 100


def test_ssim_agrees_with_scikit_image(picture):
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    other = (picture + 0.1 * torch.randn(picture.shape)).clamp(0, 1)
    grey = [p[0].mean(-1).numpy() for p in (picture, other)]
    _, theirs = structural_similarity(
        *grey, data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    inside = torch.zeros(1, 24, 18, dtype=torch.bool)
    inside[:, 6:-6, 6:-6] = True
    expected = theirs[6:-6, 6:-6].mean()
    assert ssim(other, picture, inside) == pytest.approx(expected, abs=1e-3)


def test_detail_correlation_ignores_shading_and_finds_shifted_patterns():
    stripes = ((torch.arange(24) // 2) % 2).float().view(1, 24, 1, 1).expand(1, 24, 18, 3)
    shaded = stripes * 0.5 + torch.linspace(0, 0.5, 18).view(1, 1, 18, 1)
    assert detail_correlation(shaded, stripes, EVERYWHERE) > 0.95
    assert detail_correlation(stripes.roll(2, 1), stripes, EVERYWHERE) < -0.8


def test_flow_error_is_in_pixels_and_skips_what_has_no_truth():
    truth = identity(24, 18, torch.zeros(1)).unsqueeze(0).clone()
    flow = truth + torch.tensor([2 * 3 / 18, 2 * 4 / 24])
    truth[:, :5] = torch.nan
    assert flow_epe(flow, truth, EVERYWHERE) == pytest.approx(5, abs=1e-4)


def test_garments_are_tops_and_bottoms():
    assert garment(torch.arange(9)).nonzero().flatten().tolist() == [3, 4]


def test_nearest_iuv_fetches_the_same_surface_point(picture):
    pose = torch.zeros(24, 18, 3)
    pose[..., 0] = 10 / 255
    pose[..., 1] = (torch.arange(24).view(-1, 1) * 10 / 255).expand(24, 18)
    pose[..., 2] = (torch.arange(18) * 14 / 255).expand(24, 18)
    flipped = pose.flip(1)
    warped = nearest_iuv_warp(picture[0], pose, flipped)
    assert torch.equal(warped, picture[0].flip(1))
    assert torch.equal(nearest_iuv_warp(picture[0], pose, torch.zeros_like(pose)), picture[0])


def test_groups_are_measured_apart(picture):
    from mannequin.lab.benchmarks.groups import by_group, flat, group_table
    from mannequin.lab.benchmarks.heldout import Pairs

    target = picture.expand(2, -1, -1, -1)
    label = torch.full((2, 24, 18), 3, dtype=torch.uint8)
    nothing = torch.zeros(2, 24, 18, 2)
    pairs = Pairs(target, target, target, target, label, nothing, label > 0)
    people = [
        {"skin_tone": tone, "gender": "female", "age": "young", "build": "slim"} for tone in (0, 5)
    ]
    out = target.clone()
    out[1] += 0.1
    groups = by_group(pairs, people, {"_detail": out, "_warp": target})
    assert groups["gender female"]["pairs"] == 2
    assert groups["skin tone 0"]["person_psnr_detail"] == 100
    assert groups["skin tone 5"]["person_psnr_detail"] == pytest.approx(20, abs=1e-3)
    assert flat(groups)["garment_ssim_warp_skin_tone_5"] == pytest.approx(1)
    assert "| skin tone 5 | 1 | 20.00 | 100.00 |" in group_table(groups)
