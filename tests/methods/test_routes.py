"""Routes: from masks, from attention, recorded, and as losses; and adapters as experts."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mannequin.kernels import attention, joint_attention
from mannequin.methods.moa import MoA, RoutedAdapters, RouteRecord
from mannequin.methods.moa_losses import (
    RouteTap,
    balanced_l1,
    masked_error,
    mixing,
    people_loss,
    router_loss,
)
from mannequin.methods.moa_weights import KINDS
from mannequin.methods.routes import (
    resample,
    routes_of_attention,
    routes_of_masks,
    soften,
    word_attention,
)

case = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("moa_cases.py"))))

BRANCH = {layer: kinds["cross"] for layer, kinds in case.own(seed=30).items()}
IDENTITIES = [case.draw(11, 1, 3, case.WIDTH), case.draw(12, 1, 3, case.WIDTH)]


def halves(height=24, width=32):
    left = torch.zeros(height, width)
    left[:, : width // 2] = 1
    return left, 1 - left


def expert_by_hand(given, number, apart, row):
    n, _, q, k, v = (t[row : row + 1] for t in given)
    own_q, own_k, own_v = (
        case.heads(x @ w.T)
        for x, w in zip(
            (n, IDENTITIES[number], IDENTITIES[number]),
            (BRANCH[case.LAYER].to_q, BRANCH[case.LAYER].to_k, BRANCH[case.LAYER].to_v),
            strict=True,
        )
    )
    if apart:
        return attention(q, k, v)[0] + attention(q, own_k, own_v)[0]
    return joint_attention([(q, k, v), (own_q, own_k, own_v)])[0]


def people(*masks, tokens=((2,), (4,))):
    words = ("man", "woman")
    each = zip(words, tokens, masks, strict=False)
    return [case.bound(word, place, seed, mask) for seed, (word, place, mask) in enumerate(each)]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_adapters_are_experts_where_the_masks_say(apart, strength):
    given = case.inputs()
    method = RoutedAdapters(BRANCH, people(*halves()), IDENTITIES, strength, apart=apart)
    out = case.run(method, case.site(), *given)
    shares = routes_of_masks(halves(), case.GRID).flatten(1) * strength
    prior = attention(*given[2:])
    for row in (0, 1):
        truth = (1 - shares.sum(0))[:, None] * prior[row]
        for number in (0, 1):
            truth = truth + shares[number][:, None] * expert_by_hand(given, number, apart, row)
        torch.testing.assert_close(out[row], truth, atol=2e-5, rtol=1e-4)
    assert torch.equal(out[2], prior[2])
    nobody = case.run(method, case.site(case.step((False,) * 3)), *given)
    assert torch.equal(nobody, prior)


def test_outside_all_masks_the_prior_is_untouched():
    given = case.inputs()
    left = torch.zeros(12, 16)
    left[:, :4] = 1
    out = case.run(RoutedAdapters(BRANCH, people(left), IDENTITIES[:1]), case.site(), *given)
    far = torch.arange(12).view(case.GRID)[:, 2:].flatten()
    prior = attention(*given[2:])
    assert torch.equal(out[:, :, far], prior[:, :, far])
    assert not torch.allclose(out[0, :, 0], prior[0, :, 0], atol=1e-3)


def test_routes_of_masks_are_soft_and_share_what_overlaps():
    left, right = halves()
    routes = routes_of_masks([left, right], (6, 8))
    torch.testing.assert_close(routes.sum(0), torch.ones(6, 8))
    assert routes[0, 0, 0] == 1 and routes[0, 0, -1] == 0
    assert 0.5 < routes[0, 0, 3] < 1 and 0 < routes[0, 0, 4] < 0.5
    both = routes_of_masks([left, left], (6, 8))
    torch.testing.assert_close(both[0], both[1])
    assert both.sum(0).max() <= 1 + 1e-6


def spotlight(words=2):
    """Queries and keys of which the left half looks at the first word, the right at the second."""
    q = torch.zeros(1, 2, 12, 4)
    k = torch.zeros(1, 2, case.TOKENS, 4)
    side = (torch.arange(12) % case.GRID[1] >= 2).long()
    q[0, :, torch.arange(12), side] = 6
    for number, token in enumerate((2, 4)[:words]):
        k[0, :, token, number] = 6
    return q, k


def test_routes_follow_the_attention_to_the_words():
    q, k = spotlight()
    method = RoutedAdapters(BRANCH, people(None, None), IDENTITIES)
    shares = method.routes(q, k, case.site(case.step((True,)))).view(1, 2, *case.GRID)
    assert shares[0, 0, :, 0].min() > 0.7 and shares[0, 0, :, 3].max() < 0.3
    assert shares[0, 1, :, 3].min() > 0.7 and shares[0, 1, :, 0].max() < 0.3
    assert shares.sum(1).max() <= 1 + 1e-6
    q, k = spotlight(words=1)
    alone = RoutedAdapters(BRANCH, people(None), IDENTITIES[:1])
    lit = alone.routes(q, k, case.site(case.step((True,)))).view(*case.GRID)
    assert lit[:, 0].min() > 0.7 and lit[:, 3].max() < 0.3


def test_a_mask_of_one_leaves_the_rest_to_the_others_word():
    q, k = spotlight()
    left, _ = halves()
    method = RoutedAdapters(BRANCH, people(left, None), IDENTITIES)
    shares = method.routes(q, k, case.site(case.step((True,)))).view(1, 2, *case.GRID)
    torch.testing.assert_close(shares[0, 0], routes_of_masks([left], case.GRID)[0])
    assert shares[0, 1, :, 0].max() < 1e-6 and shares[0, 1, :, 3].min() > 0.5


def test_a_small_temperature_decides_harder():
    maps = case.draw(1, 1, 2, 6, 8).abs()
    soft, hard = (routes_of_attention(maps, t) for t in (2.0, 0.2))
    assert (hard - 0.5).abs().mean() > (soft - 0.5).abs().mean()


def test_the_attention_is_remembered_over_layers_of_other_grids():
    q, k = spotlight()
    method = RoutedAdapters(BRANCH, people(None, None), IDENTITIES)
    method.routes(q, k, case.site(case.step((True,))))
    coarse = method.routes(
        q[:, :, :2] * 0, k, case.site(case.step((True,)), layer=case.LAYERS[0], grid=(1, 2))
    )
    shares = coarse.view(2, 1, 2)
    assert shares[0, 0, 0] > shares[0, 0, 1] and shares[1, 0, 1] > shares[1, 0, 0]


def test_word_attention_is_the_softmax_summed_over_a_words_tokens():
    _, _, q, k, _ = case.inputs()
    where = torch.zeros(3, 2, case.TOKENS)
    where[:, 0, 2], where[:, 1, 4:6] = 1, 1
    got = word_attention(q, k, where)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).mean(1)
    torch.testing.assert_close(got[..., 0], weights[..., 2])
    torch.testing.assert_close(got[..., 1], weights[..., 4:6].sum(-1))


def recorded(steps=2):
    record = RouteRecord()
    method = MoA(
        case.trained(), [case.bound("man", (2,)), case.bound("woman", (4,), 8)], record=record
    )
    method.begin()
    seen = []
    record.after_step = lambda record, step: seen.append(len(record.entries))
    for index in range(steps):
        now = case.step(progress=float(index), index=index)
        for layer in case.LAYERS:
            for kind in KINDS:
                given = case.inputs(kind, layer=layer)
                where = case.site(now, kind, layer)
                method.context(*given[:2], given[1], where)
                method.attend(*given[2:], where)
        method.denoised(torch.zeros(1), now)
    return record, method, seen


def test_the_record_holds_every_layer_and_step():
    record, method, seen = recorded()
    assert record.words == ("man", "woman") and record.layers() == case.LAYERS and seen == [6, 12]
    assert record.share().shape == (2, *case.GRID)
    n = case.inputs("self")[0][:2]
    truth = method.shares(n, case.site(kind="self")).unflatten(-1, case.GRID)
    torch.testing.assert_close(record.share(layer=case.LAYER, kind="self"), truth)
    parts = [record.share(subject, layer=case.LAYER) for subject in (0, 1)]
    torch.testing.assert_close(sum(parts), record.share(layer=case.LAYER, kind="cross"))
    each = [record.share(layer=layer, kind=kind) for layer in case.LAYERS for kind in KINDS]
    torch.testing.assert_close(torch.stack(each).mean(0), record.share())
    times = record.over_time(0)
    assert [t for t, _ in times] == [0.0, 1.0] and times[0][1].shape == (2, *case.GRID)
    method.begin()
    with pytest.raises(ValueError, match="No routes were recorded for layer any"):
        record.share()
    with pytest.raises(ValueError, match="run the sampler first"):
        record.over_time()


def test_adapters_record_their_routes_too():
    record = RouteRecord()
    method = RoutedAdapters(BRANCH, people(*halves()), IDENTITIES, record=record)
    case.run(method, case.site(), *case.inputs())
    routes = routes_of_masks(halves(), case.GRID)
    for number in (0, 1):
        torch.testing.assert_close(record.share(number), routes[number].expand(2, -1, -1))
    assert record.words == ("man", "woman")


def test_resampling_keeps_means_and_softening_keeps_constants():
    maps = case.draw(2, 2, 3, 8, 12)
    torch.testing.assert_close(resample(maps, (4, 6)).mean((-2, -1)), maps.mean((-2, -1)))
    assert resample(maps, (8, 12)) is maps and resample(maps, (16, 24)).shape[-2:] == (16, 24)
    torch.testing.assert_close(soften(torch.full((2, 4, 5), 0.3)), torch.full((2, 4, 5), 0.3))


def tap(share, words=None):
    made = RouteTap()
    for place, layer in enumerate(case.LAYERS):
        for kind in KINDS:
            attention = words if kind == "cross" else None
            made.observe(case.site(kind=kind, layer=layer), share[place], attention)
    return made


def test_the_router_loss_wants_the_background_for_the_prior():
    mask = halves(6, 8)[0][None]
    inside = resample(mask, case.GRID).flatten(1)
    everywhere = torch.ones_like(inside)
    assert float(router_loss(tap([inside] * 3), mask, case.LAYERS)) == 0
    torch.testing.assert_close(
        router_loss(tap([everywhere] * 3), mask, case.LAYERS), (1 - inside).square().mean()
    )
    ends = [everywhere, 0 * inside, everywhere]
    assert float(router_loss(tap(ends), mask, case.LAYERS)) == 0


def test_the_people_loss_wants_people_for_their_experts_in_every_inner_layer():
    mask = halves(6, 8)[0][None]
    inside = resample(mask, case.GRID).flatten(1)
    nobody, everywhere = torch.zeros_like(inside), torch.ones_like(inside)
    assert float(people_loss(tap([nobody, inside, nobody]), mask, case.LAYERS)) == 0
    lost = people_loss(tap([everywhere, nobody, everywhere]), mask, case.LAYERS)
    torch.testing.assert_close(lost, inside.square().mean())


def test_the_balanced_loss_wants_words_inside_their_masks():
    masks = torch.stack(halves(6, 8))[None]
    sides = resample(masks, case.GRID).flatten(2).mT
    present = torch.ones(1, 2)
    torch.testing.assert_close(
        balanced_l1(tap([sides[..., 0]] * 3, sides), masks, present), torch.tensor(-1.0)
    )
    wrong = balanced_l1(tap([sides[..., 0]] * 3, sides.flip(-1)), masks, present)
    torch.testing.assert_close(wrong, torch.tensor(1.0))
    one = torch.stack([sides[..., 0], sides[..., 0]], -1)
    alone = balanced_l1(tap([sides[..., 0]] * 3, one), masks, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(alone, torch.tensor(-1.0))


def test_mixing_is_nothing_when_everybody_looks_at_their_own_word():
    masks = torch.stack(halves(6, 8))[None]
    sides = resample(masks, case.GRID).flatten(2).mT
    present, whole = torch.ones(1, 2), sides[..., 0]
    assert float(mixing(tap([whole] * 3, 0.2 * sides), masks, present)) == pytest.approx(
        0, abs=1e-4
    )
    same = mixing(tap([whole] * 3, torch.full_like(sides, 0.2)), masks, present)
    torch.testing.assert_close(same, torch.tensor(0.5).log().neg())
    assert float(mixing(tap([whole] * 3, 0.2 * sides.flip(-1)), masks, present)) > 5
    alone = mixing(tap([whole] * 3, 0 * sides + 0.2), masks, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(alone, torch.tensor(0.0))


def test_the_masked_error_counts_what_is_inside():
    error = torch.ones(2, 3, 4, 4)
    error[:, :, :, 2:] = 5
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., :2] = 1
    torch.testing.assert_close(masked_error(error, mask), torch.tensor(1.0))
    assert float(masked_error(error, mask * 0)) == 0


def test_tokens_for_every_subject_are_needed():
    with pytest.raises(ValueError, match="identity tokens for each of 2 subjects; got 1"):
        RoutedAdapters(BRANCH, people(*halves()), IDENTITIES[:1])
