"""Parallel visual attention: the equation, its limits, and several people."""

import pytest
import torch

from mannequin.methods.pva import PVA, Projections
from mannequin.methods.site import Site, Step

WIDTH, HEADS, CHANNELS = 12, 2, 8
LAYER = "down.1.0"


def step(conditional=(True, True, False), progress=0.5):
    return Step(1.0, progress, 0, 3, conditional)


def site(now, layer=LAYER):
    return Site("cross", layer, HEADS, (3, 3), now)


def projections(seed):
    g = torch.Generator().manual_seed(seed)
    return Projections(
        torch.randn(CHANNELS, CHANNELS, generator=g),
        torch.randn(CHANNELS, WIDTH, generator=g),
        torch.randn(CHANNELS, WIDTH, generator=g),
    )


def inputs(rows=3):
    g = torch.Generator().manual_seed(5)
    n = torch.randn(rows, 9, CHANNELS, generator=g)
    q, k, v = (
        torch.randn(rows, HEADS, count, CHANNELS // HEADS, generator=g) for count in (9, 7, 7)
    )
    return n, q, k, v


def by_hand(n, q, k, v, sources, shares):
    """The paper's formula for one row, with plain tensors."""
    heads = lambda x: x.unflatten(-1, (HEADS, -1)).transpose(0, 1)  # noqa: E731
    scale = q.shape[-1] ** -0.5
    logits, values = [q @ k.mT * scale], [v]
    for (own, tokens), share in zip(sources, shares, strict=True):
        mine = heads(n @ own.to_q.T) @ heads(tokens @ own.to_k.T).mT
        logits.append(mine * scale + torch.tensor(share).log())
        values.append(heads(tokens @ own.to_v.T))
    return torch.cat(logits, -1).softmax(-1) @ torch.cat(values, -2)


def run(method, now, n, q, k, v, others=()):
    for one in (*others, method):
        one.begin()
        one.prepare(now, None)
        one.context(n, k, v, site(now))
    return method.attend(q, k, v, site(now), others)


@pytest.mark.parametrize("strength", [1.0, 0.4, 2.0])
def test_text_and_identity_share_one_softmax(strength):
    n, q, k, v = inputs()
    own, tokens = projections(1), torch.randn(1, 4, WIDTH)
    out = run(PVA({LAYER: own}, tokens, strength), step(), n, q, k, v)
    for row in (0, 1):
        truth = by_hand(n[row], q[row], k[row], v[row], [(own, tokens[0])], [strength])
        torch.testing.assert_close(out[row], truth)
    text_alone = by_hand(n[2], q[2], k[2], v[2], [], [])
    torch.testing.assert_close(out[2], text_alone)


def test_everywhere_shows_the_identity_to_unconditional_rows():
    n, q, k, v = inputs()
    own, tokens = projections(1), torch.randn(1, 4, WIDTH)
    out = run(PVA({LAYER: own}, tokens, everywhere=True), step(), n, q, k, v)
    truth = by_hand(n[2], q[2], k[2], v[2], [(own, tokens[0])], [1.0])
    torch.testing.assert_close(out[2], truth)


def test_an_identity_for_every_picture():
    n, q, k, v = inputs()
    own, tokens = projections(1), torch.randn(2, 4, WIDTH)
    out = run(PVA({LAYER: own}, tokens), step(), n, q, k, v)
    for row in (0, 1):
        truth = by_hand(n[row], q[row], k[row], v[row], [(own, tokens[row])], [1.0])
        torch.testing.assert_close(out[row], truth)
    with pytest.raises(ValueError, match="2 identities for a batch of 3"):
        run(PVA({LAYER: own}, tokens), step((True,) * 3), n, q, k, v)


def test_two_branches_share_the_softmax():
    n, q, k, v = inputs()
    first, second = ((projections(s), torch.randn(1, 4, WIDTH)) for s in (1, 2))
    methods = [PVA({LAYER: own}, t, s) for (own, t), s in ((first, 1.0), (second, 0.5))]
    out = run(methods[1], step(), n, q, k, v, methods[:1])
    sources = [(own, t[0]) for own, t in (first, second)]
    truth = by_hand(n[0], q[0], k[0], v[0], sources, [1.0, 0.5])
    torch.testing.assert_close(out[0], truth)


def test_when_it_is_not_there():
    own, tokens = projections(1), torch.randn(1, 4, WIDTH)
    assert not PVA({LAYER: own}, tokens, strength=0).active(step())
    assert not PVA({LAYER: own}, tokens[:, :0]).active(step())
    assert not PVA({LAYER: own}, tokens).active(step((False, False)))
    assert not PVA({LAYER: own}, tokens, start=0.6).active(step())
    assert PVA({LAYER: own}, tokens).active(step())
    assert not PVA({LAYER: own}, tokens).attends(site(step(), "up.1.0"))


def test_gradients_reach_branch_and_tokens_after_a_run_without():
    n, q, k, v = inputs()
    own = Projections(
        *(torch.nn.Parameter(getattr(projections(1), r)) for r in ("to_q", "to_k", "to_v"))
    )
    tokens = torch.randn(1, 4, WIDTH, requires_grad=True)
    method = PVA({LAYER: own}, tokens)
    with torch.no_grad():
        run(method, step(), n, q, k, v)
    method.context(n, k, v, site(step()))
    method.attend(q, k, v, site(step())).square().sum().backward()
    for t in (own.to_q, own.to_k, own.to_v, tokens):
        assert t.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strength": -1}, "strength must be >= 0"), ({"start": 0.8, "end": 0.2}, "must not lie")],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        PVA({LAYER: projections(1)}, torch.randn(1, 4, WIDTH), **options)
