"""Flow fields, and detail transfer on pictures whose true flow is known."""

import pytest
import torch
import torch.nn.functional as F

from mannequin.methods.flow import (
    FlowField,
    consistency,
    detail_transfer,
    identity,
    resize,
    warp,
)

H, W, GRID = 128, 96, (32, 24)


def blur(picture, sigma=2.5):
    """Gaussian of [B, H, W, 3], written independently of the code under test."""
    taps = torch.arange(-9, 10).float()
    kernel = torch.exp(-taps.square() / (2 * sigma**2))
    kernel = (kernel[:, None] * kernel[None]) / kernel.sum() ** 2
    x = F.pad(picture.movedim(-1, 1), (9, 9, 9, 9), mode="reflect")
    return F.conv2d(x, kernel.expand(3, 1, 19, 19), groups=3).movedim(1, -1)


def high_frequency_correlation(a, b):
    a, b = ((p - blur(p, 2.0)).flatten() for p in (a, b))
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


def shirt(scale=1):
    """A picture with stripes, blocks and a shading, [H * scale, W * scale, 3]."""
    p = identity(H * scale, W * scale, torch.empty(0)) * torch.tensor([W, H]) / 2
    x, y = p.unbind(-1)
    stripes = (torch.sin(x * 0.9) > 0).float()
    blocks = ((x / 11).floor() + (y / 13).floor()) % 2
    return torch.stack([stripes, blocks, 0.5 + y / 200], -1) * 0.6 + 0.2


def bend(h, w):
    """A gentle turn, stretch and shift, at any resolution: [1, 1, h, w, 2]."""
    p = identity(h, w, torch.empty(0))
    x, y = p.unbind(-1)
    return torch.stack([0.9 * x + 0.15 * y + 0.05, -0.1 * x + 0.85 * y + 0.05 * x * x], -1)[
        None, None
    ]


def field_of(xy, confidence=1.0):
    return FlowField(xy, torch.full(xy.shape[:-1], confidence))


@pytest.fixture(scope="module")
def scene():
    """reference [1, H, W, 3], truth [1, H, W, 3], its blur as a sample, and the flow."""
    reference = shirt()[None]
    truth = warp(reference, bend(H, W)[:, 0])
    return reference, truth, blur(truth), field_of(bend(*GRID))


def test_identity_gives_the_picture_back():
    picture = torch.rand(2, 7, 5, 3)
    xy = identity(7, 5, picture).expand(2, -1, -1, -1)
    torch.testing.assert_close(warp(picture, xy), picture, atol=1e-5, rtol=0)


def test_warp_fetches_from_the_position():
    picture = torch.rand(1, 6, 8, 3)
    xy = identity(6, 8, picture)[None] + torch.tensor([2 * 2 / 8, 0.0])
    torch.testing.assert_close(warp(picture, xy)[:, :, :6], picture[:, :, 2:], atol=1e-5, rtol=0)


def test_warp_is_differentiable_in_the_flow():
    xy = identity(6, 8, torch.empty(0))[None].requires_grad_()
    warp(torch.rand(1, 6, 8, 3), xy).sum().backward()
    assert xy.grad.abs().sum() > 0


def test_resize_keeps_a_translation_up_to_the_border():
    shift = torch.tensor([0.1, -0.2])
    small = (identity(4, 3, shift) * 0.5 + shift)[None, None]
    whole = (identity(4, 3, shift) + shift)[None, None]
    big = resize(field_of(whole), 16, 12).xy
    expected = (identity(16, 12, shift) + shift).clamp(-1, 1)
    torch.testing.assert_close(big[0, 0], expected)
    assert resize(field_of(small), 16, 12).xy.abs().max() <= 1


def test_resize_to_the_same_grid_is_the_same_field():
    field = field_of(bend(*GRID))
    assert resize(field, *GRID) is field


@pytest.mark.parametrize(
    ("xy", "confidence"), [((2, 3, 4, 2), (2, 3, 4)), ((1, 1, 3, 4, 2), (1, 3, 4))]
)
def test_field_says_what_shape_it_expected(xy, confidence):
    with pytest.raises(ValueError, match=r"must be \[B, R, h, w"):
        FlowField(torch.zeros(xy), torch.zeros(confidence))


def test_consistency_of_surfaces_and_of_nonsense():
    assert consistency(field_of(bend(*GRID)), H, W).min() > 0.8
    mirrored = bend(*GRID) * torch.tensor([-1.0, 1.0])
    assert consistency(field_of(mirrored), H, W).max() == 0
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 1, *GRID, 2, generator=generator) * 2 - 1
    assert consistency(field_of(noise), H, W).mean() < 0.1


def test_two_places_that_look_at_one_place_are_both_distrusted():
    xy = identity(*GRID, torch.empty(0)).clone()[None, None]
    alone = consistency(field_of(xy), *GRID)
    xy[..., 2:10, 14:22, :] = xy[..., 2:10, 2:10, :].clone()
    twice = consistency(field_of(xy), *GRID)
    for left in (4, 16):
        inner = (..., slice(4, 8), slice(left, left + 4))
        assert alone[inner].min() == 1
        assert twice[inner].max() < 0.1
    assert twice[..., 20:30, 4:20].min() > 0.99


def test_detail_comes_back(scene):
    reference, truth, sample, field = scene
    picture, weight = detail_transfer(sample, reference, field)
    assert high_frequency_correlation(sample, truth) < 0.75
    assert high_frequency_correlation(picture, truth) > 0.95
    assert (picture - truth).square().mean() < 0.3 * (sample - truth).square().mean()
    assert weight.shape == (1, H, W) and weight.mean() > 0.8


def test_colour_and_shading_stay_the_samples(scene):
    reference, _, sample, field = scene
    tinted = (sample * torch.tensor([0.95, 1.0, 0.9]) + 0.02).clamp(0, 1)
    picture, weight = detail_transfer(tinted, reference, field)
    assert weight.mean() > 0.5
    inner = (slice(None), slice(20, -20), slice(20, -20))
    torch.testing.assert_close(
        blur(picture, 4.0)[inner], blur(tinted, 4.0)[inner], atol=0.03, rtol=0
    )


def test_trust_falls_with_the_difference_of_colours(scene):
    reference, _, sample, field = scene
    _, same = detail_transfer(sample, reference, field)
    _, off = detail_transfer(sample, reference + torch.tensor([0.25, 0.0, 0.0]), field)
    assert 0.05 < off.mean() / same.mean() < 0.4


def test_strength_zero_is_the_sample_itself(scene):
    reference, _, sample, field = scene
    picture, weight = detail_transfer(sample, reference, field, strength=0)
    assert torch.equal(picture, sample)
    assert not weight.any()


def test_strength_is_linear_between(scene):
    reference, _, sample, field = scene
    half, _ = detail_transfer(sample, reference, field, strength=0.5)
    full, _ = detail_transfer(sample, reference, field, strength=1.0)
    unclamped = (full > 0) & (full < 1)
    torch.testing.assert_close(half[unclamped], ((sample + full) / 2)[unclamped])


@pytest.mark.parametrize("case", ["threshold 1", "no confidence", "mirrored", "other colours"])
def test_untrusted_flow_leaves_the_sample_alone(scene, case):
    reference, _, sample, field = scene
    threshold = 0.3
    if case == "threshold 1":
        threshold = 1.0
    elif case == "no confidence":
        field = field_of(field.xy, 0.05)
    elif case == "mirrored":
        field = field_of(field.xy * torch.tensor([-1.0, 1.0]))
    else:
        reference = reference.roll(1, -1) * torch.tensor([0.2, 1.0, 0.3])
    picture, weight = detail_transfer(sample, reference, field, threshold=threshold)
    if case == "other colours":
        assert weight.mean() < 0.05
    else:
        assert torch.equal(picture, sample)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(30, 90), slice(0, H)])
def test_outside_the_mask_every_bit_stays(scene, rows):
    reference, _, sample, field = scene
    mask = torch.zeros(1, H, W)
    mask[:, rows, 10:60] = 0.5
    beyond = sample * 2 - 0.5  # outside 0..1 too: not even clamped
    sample = torch.where(mask.unsqueeze(-1) > 0, sample, beyond)
    picture, weight = detail_transfer(sample, reference, field, mask=mask)
    outside = mask == 0
    assert torch.equal(picture[outside], sample[outside])
    assert not weight[outside].any()
    assert mask.any() == weight.any()


def test_the_better_of_two_references_wins(scene):
    reference, truth, sample, field = scene
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(reference.shape, generator=generator)
    both = FlowField(field.xy.expand(-1, 2, -1, -1, -1), torch.full((1, 2, *GRID), 0.5))
    picture, _ = detail_transfer(sample, torch.cat([noise, reference]), both)
    assert high_frequency_correlation(picture, truth) > 0.9


def test_references_that_share_the_attention_are_trusted_together(scene):
    reference, _, sample, field = scene
    both = FlowField(field.xy.expand(-1, 3, -1, -1, -1), torch.full((1, 3, *GRID), 0.33))
    alone, _ = detail_transfer(sample, reference, field_of(field.xy, 0.99), threshold=0.6)
    picture, _ = detail_transfer(sample, reference.expand(3, -1, -1, -1), both, threshold=0.6)
    torch.testing.assert_close(picture, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [3, 8])
def test_a_larger_reference_is_not_aliased(scene, scale):
    _, truth, sample, field = scene
    large = shirt(scale)[None]
    picture, _ = detail_transfer(sample, large, field)
    assert high_frequency_correlation(picture, truth) > 0.9


def test_a_batch_is_its_pictures(scene):
    reference, _, sample, field = scene
    other = field_of(identity(*GRID, sample)[None, None])
    second = blur(reference)
    both = FlowField(torch.cat([field.xy, other.xy]), torch.ones(2, 1, *GRID))
    picture, weight = detail_transfer(torch.cat([sample, second]), reference, both)
    for i, (s, f) in enumerate(((sample, field), (second, other))):
        alone, alone_weight = detail_transfer(s, reference, f)
        torch.testing.assert_close(picture[i : i + 1], alone, atol=2e-3, rtol=0)
        torch.testing.assert_close(weight[i : i + 1], alone_weight)


def test_sizes_that_do_not_fit_are_named(scene):
    reference, _, sample, field = scene
    with pytest.raises(ValueError, match=r"1 picture\(s\) looking at 1 reference\(s\); came 2"):
        detail_transfer(sample.expand(2, -1, -1, -1), reference, field)
    with pytest.raises(ValueError, match=r"came 1 picture\(s\) and 3 reference\(s\)"):
        detail_transfer(sample, reference.expand(3, -1, -1, -1), field)
    with pytest.raises(ValueError, match=r"mask must have the picture's shape \[1, 128, 96\]"):
        detail_transfer(sample, reference, field, mask=torch.ones(1, 64, 48))
