"""Mixture-of-attention: the equation, the multimodal prompt, and what stays as it was."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mannequin.kernels import attention
from mannequin.methods.moa import Bound, MoA, MoAWeights, RouteRecord, Subject, standing
from mannequin.methods.moa_weights import KINDS, names
from mannequin.methods.pva import PVA, Projections

case = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("moa_cases.py"))))

PEOPLE = [case.bound("man", (2,), 4), case.bound("woman", (4, 5), 8)]


def by_hand(weights, kind, given, row, people, strength=1.0, temperature=1.0, prior=None, at=None):
    n, keys, q, k, v = (t[row] for t in given)
    seen = n if kind == "self" else case.prompt_by_hand(weights, keys, people, 1.3, across=at)
    personal = case.routes_by_hand(weights, n, kind, temperature)[:, 1:]
    personal = (personal * strength).clamp(max=1)
    prior = attention(q[None], k[None], v[None])[0] if prior is None else prior
    return (1 - personal) * prior + personal * case.expert_by_hand(weights, n, seen, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("strength", "temperature"), [(1.0, 1.0), (0.4, 1.0), (1.8, 0.5)])
def test_prior_and_personalised_are_mixed_per_pixel(kind, strength, temperature):
    weights, given = case.trained(), case.inputs(kind)
    method = MoA(weights, PEOPLE, strength, temperature=temperature)
    out = case.run(method, case.site(kind=kind), *given)
    for row in (0, 1):
        truth = by_hand(weights, kind, given, row, PEOPLE, strength, temperature)
        torch.testing.assert_close(out[row], truth, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(out[0], attention(*given[2:])[0], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_unconditional_rows_see_the_prior_alone(kind):
    given = case.inputs(kind)
    out = case.run(MoA(case.trained(), PEOPLE), case.site(kind=kind), *given)
    assert torch.equal(out[2], attention(*given[2:])[2])
    whole = case.run(MoA(case.trained(), PEOPLE), case.site(case.step((True,) * 3), kind), *given)
    torch.testing.assert_close(whole[:2], out[:2])
    nobody = case.run(MoA(case.trained(), PEOPLE), case.site(case.step((False,) * 3), kind), *given)
    assert torch.equal(nobody, attention(*given[2:]))


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_the_model_is_what_it_was(kind):
    given = case.inputs(kind)
    out = case.run(MoA(case.untrained(), PEOPLE), case.site(kind=kind), *given)
    torch.testing.assert_close(out, attention(*given[2:]))


def test_when_it_is_not_there():
    assert not MoA(case.trained(), PEOPLE, strength=0).active(case.step())
    assert not MoA(case.trained(), []).active(case.step())
    assert not MoA(case.trained(), PEOPLE, start=0.6).active(case.step())
    assert not MoA(case.trained(), PEOPLE, end=0.4).active(case.step())
    assert not MoA(case.trained(), PEOPLE).active(case.step((False, False)))
    assert MoA(case.trained(), PEOPLE).active(case.step())
    some = MoA(case.trained(), PEOPLE, layers=["mid.0"])
    assert some.attends(case.site()) and not some.attends(case.site(layer=case.LAYERS[0]))


def test_the_prompt_knows_layer_and_noise_level():
    weights, given = case.trained(), case.inputs()
    method = MoA(weights, PEOPLE)
    seen = {}
    for layer, sigma in ((case.LAYERS[0], 1.3), (case.LAYER, 1.3), (case.LAYER, 0.2)):
        where = case.site(case.step(sigma=sigma), layer=layer)
        method.context(*given[:2], given[1], where)
        seen[layer, sigma] = method.prompt([0, 1], where)
        for row in (0, 1):
            truth = case.prompt_by_hand(weights, given[1][row], PEOPLE, sigma, layer)
            torch.testing.assert_close(seen[layer, sigma][row], truth, atol=2e-5, rtol=1e-4)
    first, *others = seen.values()
    untouched = [i for i in range(case.TOKENS) if i not in (2, 4, 5)]
    for other in others:
        assert not torch.allclose(first[:, [2, 4, 5]], other[:, [2, 4, 5]])
        assert torch.equal(other[:, untouched], given[1][:2, untouched])


def test_every_picture_may_have_its_own_people():
    weights, given = case.trained(), case.inputs()
    each = [PEOPLE[:1], PEOPLE]
    out = case.run(MoA(weights, each), case.site(), *given)
    for row in (0, 1):
        truth = by_hand(weights, "cross", given, row, each[row])
        torch.testing.assert_close(out[row], truth, atol=2e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="2 lists of subjects for a batch of 3"):
        case.run(MoA(weights, each), case.site(case.step((True,) * 3)), *given)


def test_a_repeated_text_is_bound_in_every_repetition():
    given = case.inputs()
    n, text = given[:2]
    method = MoA(case.trained(), [case.bound("man", (2,), length=case.TOKENS)])
    twice = torch.cat([text, text], 1)
    method.context(n, twice, twice, case.site())
    prompt = method.prompt([0], case.site())
    torch.testing.assert_close(prompt[:, : case.TOKENS], prompt[:, case.TOKENS :])
    assert not torch.equal(prompt[:, 2], text[:1, 2])


def test_masks_of_all_subjects_end_the_routes():
    given = case.inputs()
    left = torch.zeros(12, 16)
    left[:, :4] = 1
    masked = [case.bound("man", (2,), 4, left), case.bound("woman", (4, 5), 8, 0 * left)]
    out = case.run(MoA(case.trained(), masked), case.site(), *given)
    by = (case.trained(), "cross", given, 0)
    free = by_hand(*by, PEOPLE, at=(0.125, 0.75))  # the second mask says nothing
    prior = attention(*given[2:])
    far = torch.arange(12).view(3, 4)[:, 2:].flatten()
    assert torch.equal(out[:, :, far], prior[:, :, far])
    near = torch.arange(12).view(3, 4)[:, 0]
    soft = 0.75 * free[:, near] + 0.25 * prior[0, :, near]
    torch.testing.assert_close(out[0, :, near], soft, atol=2e-5, rtol=1e-4)
    one_masked = case.run(MoA(case.trained(), [masked[0], PEOPLE[1]]), case.site(), *given)
    torch.testing.assert_close(one_masked[0], free, atol=2e-5, rtol=1e-4)  # the place left: 0.75


def test_people_stand_at_their_masks_or_side_by_side_as_the_words_say():
    first, second, third = (case.bound("man", (place,)) for place in (5, 2, 9))
    assert standing([first, second, third]) == pytest.approx([1 / 2, 1 / 6, 5 / 6])
    assert standing([second]) == [0.5] and standing([]) == []
    right = torch.zeros(3, 8)
    right[1:, 6:] = 1
    masked = case.bound("woman", (2,), mask=right)
    nothing = case.bound("man", (9,), mask=0 * right)
    assert standing([first, masked, nothing]) == pytest.approx([1 / 6, 7 / 8, 1 / 2])
    assert standing([masked, masked, first]) == pytest.approx([7 / 8, 7 / 8, 1 / 6])


def test_swapped_words_swap_who_stands_where():
    given = case.inputs()
    swapped = MoA(case.trained(), [case.bound("man", (4, 5), 4), case.bound("woman", (2,), 8)])
    swapped.context(*given[:2], given[1], case.site())
    seen = swapped.prompt([0], case.site())[0]
    by = (case.trained(), given[1][0], swapped.rows[0], 1.3)
    truth = case.prompt_by_hand(*by, across=(0.75, 0.25))
    torch.testing.assert_close(seen, truth, atol=2e-5, rtol=1e-4)
    elsewhere = case.prompt_by_hand(*by, across=(0.25, 0.75))
    assert not torch.allclose(seen, elsewhere, atol=1e-3)


def test_noise_levels_of_rows_replace_the_steps():
    given = case.inputs()
    sigmas = torch.tensor([0.3, 2.0])
    rows = [MoA(case.trained(), PEOPLE, sigmas=s) for s in (sigmas, sigmas[:1], sigmas[1:])]
    outs = []
    for method, conditional in zip(rows, ((1, 1, 0), (1, 0, 0), (0, 1, 0)), strict=True):
        outs.append(case.run(method, case.site(case.step(tuple(map(bool, conditional)))), *given))
    torch.testing.assert_close(outs[0][0], outs[1][0])
    torch.testing.assert_close(outs[0][1], outs[2][1])


def test_what_came_before_on_the_layer_is_the_prior():
    weights, given = case.trained(), case.inputs()
    projections = Projections(
        *(case.draw(i, 8, w) for i, w in enumerate((8, case.WIDTH, case.WIDTH)))
    )
    pva = PVA({case.LAYER: projections}, case.draw(3, 1, 4, case.WIDTH))
    first = case.run(pva, case.site(), *given)
    second = MoA(weights, PEOPLE)
    out = case.run(second, case.site(), *given, others=[pva])
    for row in (0, 1):
        truth = by_hand(weights, "cross", given, row, PEOPLE, prior=first[row])
        torch.testing.assert_close(out[row], truth, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(out[2], first[2])
    twice = case.run(MoA(weights, PEOPLE), case.site(), *given, others=[pva, second])
    truth = by_hand(weights, "cross", given, 0, PEOPLE, prior=out[0])
    torch.testing.assert_close(twice[0], truth, atol=2e-5, rtol=1e-4)


def test_gradients_reach_everything_that_learns():
    made = case.trained()
    tensors = {name: t.clone().requires_grad_() for name, t in made.tensors.items()}
    method = MoA(MoAWeights(made.config, tensors), PEOPLE, record=RouteRecord())
    total = 0
    for layer in case.LAYERS:
        for kind in KINDS:
            given = case.inputs(kind, layer=layer)
            where = case.site(kind=kind, layer=layer)
            method.context(*given[:2], given[1], where)
            total = total + method.attend(*given[2:], where).square().sum()
    total.backward()
    still = [name for name, t in tensors.items() if t.grad is None or not t.grad.any()]
    assert still == []


def test_weights_know_their_model_and_their_faces():
    weights = case.trained()
    weights.check(case.base())
    assert names(case.LAYERS) == set(weights.tensors)
    with pytest.raises(ValueError, match=r"trained for tiny with 3 cross-attention layers.* has 2"):
        weights.check(case.base(layers=case.LAYERS[:2]))
    with pytest.raises(ValueError, match=r"down.1.0.to_q is \[8, 8\] there and \[6, 6\] here"):
        weights.check(case.base(channels=6))
    fewer = {k: t for k, t in weights.tensors.items() if k != "binder.layer"}
    with pytest.raises(ValueError, match=r"lacks 1 of its tensors, binder\.layer"):
        MoAWeights(weights.config, fewer).check(case.base())
    for other in (case.faces(dimension=4), case.faces(source="clip-vision-5")):
        with pytest.raises(ValueError, match="the subject 'man' has those of"):
            MoA(weights, [Bound(Subject("man", other), (2,))])
    assert weights.branch("self").keys() == case.own().keys()
    assert weights.config["dimension"] == case.DIMENSION


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strength": -1}, "MoA strength must be >= 0, got -1"),
        ({"start": 0.7, "end": 0.2}, "must not lie after its end"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"layers": ["up.9.0"]}, "Expected layers among down.1.0, mid.0, up.0.0"),
    ],
)
def test_errors_name_what_came(wrong, said):
    with pytest.raises(ValueError, match=said):
        MoA(case.trained(), PEOPLE, **wrong)


def test_a_word_beyond_the_text_and_a_batch_of_masks_are_refused():
    with pytest.raises(
        ValueError, match=r"'man' is bound to the tokens \[7\] of a text that has 7"
    ):
        case.run(MoA(case.trained(), [case.bound("man", (7,))]), case.site(), *case.inputs())
    with pytest.raises(ValueError, match="one mask"):
        Subject("man", case.faces(), torch.ones(1, 4, 4))
