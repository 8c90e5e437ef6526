from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mannequin.methods.flow_record import (
    CorrespondenceTap,
    FlowRecord,
    cell_centres,
    flow_moments,
)
from mannequin.methods.leffa import Leffa, Reference, leffa_loss
from mannequin.methods.site import Site, Step

C, D, H, W = 2, 3, 4, 3


def step(index: int = 0, rows: tuple[bool, ...] = (True,), total: int = 4) -> Step:
    return Step(1.0, index / (total - 1), index, total, rows)


def site(now: Step, layer: str = "up.0.0", kind: str = "self") -> Site:
    return Site(kind, layer, 1, (H, W), now)


def reference(sets: int = 1, count: int = 1) -> Reference:
    g = torch.Generator().manual_seed(0)
    return Reference(
        torch.rand(count, 8, 6, 3, generator=g),
        torch.randn(sets, count, C, H, W, generator=g),
        torch.randn(sets, count, D, H, W, generator=g),
    )


def run_reference(inputs: torch.Tensor, sigma: float) -> dict[str, torch.Tensor]:
    return {"up.0.0": inputs.flatten(2).mT}


def test_bank_rows_follow_the_conditional_flags():
    ref = reference()
    method = Leffa(ref)
    now = step(rows=(False, False, True, True))
    method.prepare(now, run_reference)
    tokens = ref.inputs[0, 0].flatten(1).T
    bank = method.bank["up.0.0"]
    assert bank.shape == (4, H * W, C + D)
    assert not bank[:2].any()
    assert torch.equal(bank[2], tokens) and torch.equal(bank[3], tokens)


def test_every_row_may_have_its_own_references():
    ref = reference(sets=2, count=3)
    method = Leffa(ref)
    method.prepare(step(rows=(True, True)), run_reference)
    bank = method.bank["up.0.0"].unflatten(1, (3, -1))
    assert torch.equal(bank[1, 2], ref.inputs[1, 2].flatten(1).T)


def test_a_batch_that_does_not_fit_the_references_is_named():
    with pytest.raises(ValueError, match="2 sets of references for a batch of 3"):
        Leffa(reference(sets=2)).prepare(step(rows=(True,) * 3), run_reference)


def test_a_model_without_reference_network_is_an_error():
    with pytest.raises(ValueError, match="reference network"):
        Leffa(reference()).prepare(step(), None)


def test_keys_and_values_get_the_reference_tokens():
    method = Leffa(reference())
    now = step()
    method.prepare(now, run_reference)
    n = torch.randn(1, H * W, C + D)
    q, keys, values = method.context(n, n, n, site(now))
    assert q is n
    assert torch.equal(keys[:, : H * W], n)
    assert torch.equal(keys[:, H * W :], method.bank["up.0.0"])
    assert torch.equal(keys, values)
    assert method.context(n, n, n, site(now, kind="cross"))[1] is n
    assert method.context(n, n, n, site(now, layer="down.9.9"))[1] is n


@pytest.mark.parametrize(
    ("strength", "start", "end", "index", "active"),
    [(0, 0, 1, 0, False), (1, 0, 1, 0, True), (1, 0.5, 1, 1, False), (1, 0, 0.4, 2, False)],
)
def test_strength_zero_and_the_range_switch_it_off(strength, start, end, index, active):
    assert Leffa(reference(), strength, start, end).active(step(index)) is active


@pytest.mark.parametrize("bad", [{"strength": -1}, {"start": 0.6, "end": 0.5}])
def test_impossible_settings_are_errors(bad):
    with pytest.raises(ValueError, match="Leffa"):
        Leffa(reference(), **bad)


def attend(method: Leffa, now: Step, q: torch.Tensor) -> torch.Tensor:
    method.prepare(now, run_reference)
    n = torch.randn(len(q), H * W, C + D, generator=torch.Generator().manual_seed(3))
    _, keys, _ = method.context(n, n, n, site(now))
    return method.attend(q, keys[:, None], keys[:, None], site(now))


def test_strength_scales_the_share_of_the_reference():
    q = torch.randn(1, 1, H * W, C + D)
    shares = []
    for strength in (0.01, 1.0, 2.0):
        record = FlowRecord()
        attend(Leffa(reference(), strength, observer=record), step(), q)
        (_, _, moments) = record.entries[0, "up.0.0"]
        shares.append(moments[..., 0].mean().item())
    assert shares[0] < 0.05 < shares[1] < shares[2] < 1


def test_recorded_flow_points_at_the_token_a_query_looks_for():
    ref = reference()
    method = Leffa(ref, observer=(record := FlowRecord()))
    now = step()
    method.prepare(now, run_reference)
    tokens = method.bank["up.0.0"]
    q = 200 * F.normalize(tokens, dim=-1).flip(1)[:, None]
    keys = torch.cat([torch.zeros_like(tokens), F.normalize(tokens, dim=-1)], 1)[:, None]
    method.attend(q, keys, keys, site(now))
    field = record.field()
    centres = cell_centres((H, W), align_corners=False).view(H, W, 2)
    torch.testing.assert_close(field.xy[0, 0], centres.flip(0, 1), atol=1e-3, rtol=0)
    assert field.confidence.min() > 0.99


def test_flow_of_several_references_is_told_apart():
    moments = flow_moments(2, (H, W))
    assert moments.shape == (2 * H * W, 8)
    assert moments[: H * W, 0].sum() == H * W and not moments[: H * W, 4:].any()


def test_a_new_run_starts_a_new_record():
    record = FlowRecord()
    method = Leffa(reference(), start=0.5, observer=record)
    q = torch.randn(1, 1, H * W, C + D)
    for steps in ((1, 2), (2, 3)):
        method.begin()
        for index in steps:
            attend(method, step(index), q)
    assert [key[0] for key in record.entries] == [2, 3]


def test_the_record_tells_after_every_step():
    seen = []
    record = FlowRecord(after_step=lambda r, now: seen.append((now.index, len(r.entries))))
    method = Leffa(reference(), observer=record)
    x0 = torch.randn(1, C, H, W)
    assert method.denoised(x0, step()) is x0 and not seen
    for index in (0, 1):
        attend(method, step(index), torch.randn(1, 1, H * W, C + D))
        method.denoised(x0, step(index))
    assert seen == [(0, 1), (1, 2)]


def test_once_runs_the_reference_at_the_middle_noise_level_only():
    levels = []

    def run(inputs: torch.Tensor, sigma: float) -> dict[str, torch.Tensor]:
        levels.append(sigma)
        return run_reference(inputs, sigma)

    every, once = Leffa(reference()), Leffa(reference(), once=True)
    sigmas = (9.0, 5.0, 2.0, 1.0)
    for method in (every, once, once):
        method.begin()
        for index, sigma in enumerate(sigmas):
            method.prepare(Step(sigma, index / 3, index, 4, (True, False), sigmas), run)
            assert method.bank["up.0.0"].shape[0] == 2
        method.end()
        assert not method.bank
    assert levels == [*sigmas, 2.0, 2.0]


def test_rows_without_a_taught_nothing_see_the_pictures_too():
    ref = replace(reference(sets=2), shown_to_all=True)
    method = Leffa(ref)
    method.prepare(step(rows=(True, True, False, False)), run_reference)
    bank = method.bank["up.0.0"]
    assert torch.equal(bank[:2], bank[2:]) and not torch.equal(bank[0], bank[1])
    method.prepare(step(rows=(False, False)), run_reference)
    assert torch.equal(method.bank["up.0.0"], bank[2:])


@pytest.mark.parametrize("grid", [(H, W), (W, H), (5, 5), (2, 9)])
def test_the_flow_is_the_references_whatever_the_proportions_of_the_result(grid):
    record = FlowRecord()
    method = Leffa(reference(), observer=record)
    now = step()
    method.prepare(now, run_reference)
    tokens = F.normalize(method.bank["up.0.0"], dim=-1)
    n = grid[0] * grid[1]
    looked_at = torch.arange(n) % (H * W)
    q = 200 * tokens[:, looked_at][:, None]
    keys = torch.cat([torch.zeros(1, n, C + D), tokens], 1)[:, None]
    method.attend(q, keys, keys, Site("self", "up.0.0", 1, grid, now))
    centres = cell_centres((H, W), align_corners=False)[looked_at].view(*grid, 2)
    torch.testing.assert_close(record.field().xy[0, 0], centres, atol=1e-3, rtol=0)


def test_tokens_of_no_layer_are_an_error():
    assert reference().grid(2 * 2) == (2, 2)
    with pytest.raises(ValueError, match="Expected 5 tokens to be a halved"):
        reference().grid(5)


def test_an_empty_record_is_an_error():
    with pytest.raises(ValueError, match="run the sampler first"):
        FlowRecord().field()


def test_loss_is_zero_at_the_true_flow_and_grows_away_from_it():
    g = torch.Generator().manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 4, 3, generator=g), (32, 24), mode="bicubic")
    target = picture.roll(4, -1)
    mask = torch.zeros(1, 1, 32, 24)
    mask[..., 6:-6] = 1
    identity = cell_centres((32, 24), align_corners=True).T.view(1, 2, 32, 24)
    shifted = identity - torch.tensor([8 / 23, 0]).view(1, 2, 1, 1)
    right = leffa_loss(shifted, picture, target, mask)
    wrong = leffa_loss(identity, picture, target, mask)
    assert right < 1e-8 < 1e-3 < wrong


def test_loss_looks_only_inside_the_mask():
    flow = cell_centres((4, 3), align_corners=True).T.view(1, 2, 4, 3)
    a, b = torch.zeros(1, 3, 8, 6), torch.ones(1, 3, 8, 6)
    assert leffa_loss(flow, a, b, torch.zeros(1, 1, 8, 6)) == 0
    half = torch.zeros(1, 1, 8, 6)
    half[..., :3] = 1
    assert leffa_loss(flow, a, b, half) == pytest.approx(0.5)


def test_descending_the_loss_moves_queries_to_the_right_keys():
    g = torch.Generator().manual_seed(1)
    picture = torch.rand(1, 3, H, W, generator=g)
    target = picture.flip(-1)
    keys = torch.randn(1, 1, H * W, 8, generator=g)
    q = torch.zeros(1, 1, H * W, 8, requires_grad=True)
    now = step()
    tap = CorrespondenceTap(("up.0.0",))
    optimizer = torch.optim.Adam([q], 0.3)
    values = []
    for _ in range(200):
        tap.observe(site(now), q, keys, None)
        (flow,) = tap.flows(2.0, align_corners=True)
        loss = leffa_loss(flow, picture, target, torch.ones(1, 1, H, W))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.4 * values[0]
