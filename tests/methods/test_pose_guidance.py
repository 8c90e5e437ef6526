"""What guidance does to a prediction, measured with a head whose answer is known."""

import math

import pytest
import torch
from torch import nn

from mannequin.methods.pose_field import PoseField
from mannequin.methods.pose_guidance import GuidanceReport, PoseGuidance, weight
from mannequin.methods.site import Step

H, W, CELL = 8, 6, 4


class Corners(nn.Module):
    """Reads all points from the first two channels' means, in pixels: 16 times x, 32 times y."""

    downscale = CELL

    def __init__(self):
        super().__init__()
        self.told = nn.Parameter(torch.linspace(0, 1, 18), requires_grad=False)

    def forward(self, z):
        x, y = z[:, 0].mean((1, 2)), z[:, 1].mean((1, 2))
        at = torch.stack([16 * x, 32 * y], -1)[:, None] + 4 * self.told[:, None]
        return torch.cat([at, torch.ones_like(at[..., :1])], -1)


def step(sigma=1.0, conditional=(True, True), progress=0.5, index=0):
    return Step(sigma, progress, index, 10, conditional)


@pytest.fixture
def x0():
    return torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(0))


def aim(rows=1, at=10.0):
    return torch.tensor([at, at, 1.0]).repeat(rows, 18, 1)


def guidance(target=None, scale=1.0, **options):
    head = Corners()
    return PoseGuidance(head, None, aim() if target is None else target, scale, **options)


def error(x0, target):
    return ((Corners()(x0) - target)[..., :2] / (H * CELL)).square().sum(-1).mean(1)


def test_the_step_is_the_formula(x0):
    out = guidance(scale=0.02, most=10.0).denoised(x0, step(2.0))
    z = x0.clone().requires_grad_(True)
    energy = error(z, aim())
    (g,) = torch.autograd.grad(energy.sum(), z)
    for k in range(2):
        size = g[k].square().mean().sqrt()
        length = 16 * 0.02 * (4 / 5) * energy[k].sqrt() * x0[k].std()
        torch.testing.assert_close(out[k], x0[k] - length * g[k] / size)


def test_it_goes_towards_the_target_and_fades_as_it_arrives(x0):
    method = guidance(scale=0.0125)
    first = error(x0, aim())
    z, moves = x0, []
    for k in range(30):
        after = method.denoised(z, step(index=k))
        moves.append(float((after - z).norm()))
        z = after
    assert (error(z, aim()) < 0.1 * first).all()
    assert moves[-1] < 0.5 * moves[0]


def test_the_change_is_bounded_and_the_clipping_told(x0):
    report = GuidanceReport()
    method = guidance(scale=1e6, most=0.25, report=report)
    out = method.denoised(x0, step())
    change = (out - x0).flatten(1).square().mean(1).sqrt() / x0.flatten(1).std(1)
    torch.testing.assert_close(change, torch.full((2,), 0.25))
    assert all(one.clipped and not one.skipped for one in report.steps)
    assert "2 of 2 changes were clipped: lower the scale." in report.text()
    many = guidance(scale=1e6, most=0.25, repeats=4).denoised(x0, step())
    change = (many - x0).flatten(1).square().mean(1).sqrt() / x0.flatten(1).std(1)
    assert (change < 0.25001).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_left_alone_and_told(x0, bad):
    x0[1, 0, 0, 0] = bad
    report = GuidanceReport()
    method = guidance(scale=0.5, report=report)
    out = method.denoised(x0, step())
    torch.testing.assert_close(out[1], x0[1], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(out[0], method.denoised(x0[:1], step())[0])
    assert [one.skipped for one in report.steps[:2]] == [False, True]
    assert "1 of 3 were skipped" in report.text()


def test_a_head_that_breaks_leaves_the_prediction_alone(x0):
    class Broken(Corners):
        def forward(self, z):
            return super().forward(z) * math.nan

    report = GuidanceReport()
    method = PoseGuidance(Broken(), None, aim(), 1.0, report=report)
    assert torch.equal(method.denoised(x0, step()), x0)
    assert all(one.skipped and one.change == 0 for one in report.steps)


@pytest.mark.parametrize(
    "options, progress, active",
    [
        ({"scale": 0.0}, 0.5, False),
        ({"keypoint_weight": 0.0}, 0.5, False),
        ({"start": 0.6}, 0.5, False),
        ({"end": 0.4}, 0.5, False),
        ({"start": 0.5, "end": 0.5}, 0.5, True),
    ],
)
def test_when_it_acts(options, progress, active):
    assert guidance(**options).active(step(progress=progress)) is active


def test_points_missing_outside_or_not_finite_do_not_count(x0):
    target = aim()
    target[0, 0, 2] = 0
    target[0, 1, :2] = torch.tensor([-3.0, 10.0])
    target[0, 2, :2] = torch.tensor([10.0, H * CELL + 0.5])
    target[0, 3, :2] = math.nan
    other = target.clone()
    other[0, :4] = torch.tensor([500.0, -500.0, 0.0])
    out = [guidance(t).denoised(x0, step()) for t in (target, other)]
    assert torch.equal(*out) and not torch.equal(out[0], x0)
    report = GuidanceReport()
    other[..., 2] = 0
    assert torch.equal(guidance(other, report=report).denoised(x0, step()), x0)
    assert all(math.isnan(one.keypoint_error) and not one.skipped for one in report.steps)
    assert " - " in report.text()


def test_confidence_weighs_points(x0):
    target = aim()
    target[0, 9:, 1] = 30.0
    loud = target.clone()
    loud[0, 9:, 2] = 0.01
    at = [Corners()(guidance(t, 0.1).denoised(x0, step()))[..., 1].mean() for t in (target, loud)]
    assert at[0] > at[1]


def test_targets_go_with_the_pictures_in_their_order(x0):
    two = torch.cat([aim(at=5.0), aim(at=25.0)])
    batch = torch.cat([x0, x0])
    out = guidance(two, 0.3).denoised(batch, step(conditional=(True,) * 4))
    for row, one in enumerate((0, 1, 0, 1)):
        alone = guidance(two[one : one + 1], 0.3).denoised(batch[row : row + 1], step())
        torch.testing.assert_close(out[row], alone[0])
    with pytest.raises(ValueError, match=r"each of 3 target pose\(s\) equally often; got 2 pic"):
        guidance(aim(3)).denoised(x0, step())


def test_rows_of_the_negative_prompt_stay_where_they_can_be_told(x0):
    out = guidance().denoised(x0, step(conditional=(True, False)))
    assert not torch.equal(out[0], x0[0]) and torch.equal(out[1], x0[1])
    out = guidance().denoised(x0, step(conditional=(True, True, False, False)))
    assert not torch.equal(out[1], x0[1])


def test_it_works_inside_inference_mode_without_a_graph(x0):
    wanted = guidance().denoised(x0, step())
    with torch.inference_mode():
        inside = x0.clone()
        out = guidance(aim().clone()).denoised(inside, step())
        assert torch.equal(inside, x0)
    assert torch.equal(out, wanted)
    leaf = x0.clone().requires_grad_(True)
    guidance().denoised(leaf * 1, step()).sum().backward()
    assert not leaf.grad.any()


def test_half_precision_comes_back_as_it_went(x0):
    out = guidance().denoised(x0.half(), step())
    assert out.dtype == torch.float16 and out.isfinite().all()
    assert not torch.equal(out, x0.half())


def test_the_field_pulls_too_and_alone(x0):
    torch.manual_seed(3)
    field = PoseField(code=4, inner=8, width=16)

    class Spread(Corners):
        def forward(self, z):
            flat = z.flatten(1)[:, :36].unflatten(1, (18, 2)) * 10
            return torch.cat([flat, torch.ones_like(flat[..., :1])], -1)

    head = Spread()
    report = GuidanceReport()
    alone = PoseGuidance(head, field, None, 0.2, field_weight=1.0, report=report)
    out = alone.denoised(x0, step())
    assert alone.active(step()) and not torch.equal(out, x0)
    assert math.isnan(report.steps[0].keypoint_error) and report.steps[0].field > 0
    before, after = (field.distance(head(z)) for z in (x0, out))
    assert (after < before).all()
    without = PoseGuidance(head, field, None, 1.0, field_weight=0.0)
    assert not without.active(step())


def test_the_weight_falls_with_the_noise():
    assert weight(math.inf) == 1 and weight(0.0) == 0 and weight(1.0) == 0.5
    assert weight(4500.0) > 0.999 > weight(2.0) > weight(0.5)


def test_a_report_begins_empty_tells_and_has_a_line_per_step(x0):
    told = []
    report = GuidanceReport(told=lambda r: told.append(len(r.steps)))
    method = guidance(scale=0.05, report=report)
    method.denoised(x0, step())
    assert "has not acted" in GuidanceReport().text() and told == [2]
    method.begin()
    assert report.steps == []
    for k in range(3):
        method.denoised(x0, step(index=k))
    assert len(report.text().splitlines()) == 4 and "% of H" in report.text()


@pytest.mark.parametrize(
    "options, match",
    [
        ({"scale": -1}, "scale must be >= 0 and finite, got -1"),
        ({"scale": math.nan}, "scale must be >= 0"),
        ({"keypoint_weight": math.inf}, "keypoint_weight must be"),
        ({"start": 0.7, "end": 0.2}, r"start \(0.7\) must not lie after its end \(0.2\)"),
        ({"most": 0.0}, "largest change must be > 0"),
        ({"repeats": 0}, "repeats >= 1"),
        ({"target": torch.zeros(1, 17, 3)}, r"\[pictures, 18, 3\].*got \[1, 17, 3\]"),
    ],
)
def test_values_outside_their_ranges_are_told(options, match):
    with pytest.raises(ValueError, match=match):
        guidance(**options)
