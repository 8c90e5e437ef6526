"""A model of two layers for the tests of mixture-of-attention, and its formulas by hand."""

import torch

from mannequin.kernels import attention
from mannequin.methods.moa import Bound, MoAWeights, Subject
from mannequin.methods.moa_weights import new_weights
from mannequin.methods.pva import FaceEmbedding, Projections
from mannequin.methods.site import Site, Step

WIDTH, HEADS, CHANNELS, DIMENSION = 12, 2, 8, 5
LAYERS = ("down.1.0", "mid.0", "up.0.0")
GRID, TOKENS = (3, 4), 7
LAYER = LAYERS[1]


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step(conditional=(True, True, False), progress=0.5, index=0, sigma=1.3):
    return Step(sigma, progress, index, 3, conditional)


def site(now=None, kind="cross", layer=LAYER, grid=GRID):
    return Site(kind, layer, HEADS, grid, now or step())


def own(seed=1, channels=CHANNELS, layers=LAYERS):
    """The model's self- and cross-attentions."""
    out = {}
    for place, layer in enumerate(layers):
        widths = {"self": channels, "cross": WIDTH}
        out[layer] = {
            kind: Projections(
                *(draw(seed + 7 * place + i, channels, w) for i, w in enumerate((channels, w, w)))
            )
            for kind, w in widths.items()
        }
    return out


def base(**how):
    return {layer: kinds["cross"] for layer, kinds in own(**how).items()}


def untrained():
    torch.manual_seed(0)
    return new_weights(own(), "tiny", "net", DIMENSION)


def trained():
    """Weights as if training had moved everything."""
    made = untrained()
    g = torch.Generator().manual_seed(9)
    moved = {k: t + 0.3 * torch.randn(t.shape, generator=g) for k, t in made.tensors.items()}
    return MoAWeights(made.config, moved)


def faces(seed=4, dimension=DIMENSION, source="net"):
    v = draw(seed, 2, 1, dimension)
    return FaceEmbedding(v, v, source, torch.rand(2, 8, 8, 3), torch.ones(2, 8, 8))


def bound(word="man", tokens=(2,), seed=4, mask=None, **how):
    return Bound(Subject(word, faces(seed), mask), tokens, **how)


def heads(x):
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def inputs(kind="cross", rows=3, layer=LAYER, tokens=TOKENS):
    """(n, keys, q, k, v) of a layer: its input, what it reads, and the model's projections."""
    n = draw(5, rows, GRID[0] * GRID[1], CHANNELS)
    keys = n if kind == "self" else draw(6, rows, tokens, WIDTH)
    p = own()[layer][kind]
    return n, keys, *(heads(x @ w.T) for x, w in ((n, p.to_q), (keys, p.to_k), (keys, p.to_v)))


def run(method, where, n, keys, q, k, v, others=()):
    for one in (*others, method):
        one.begin()
        one.prepare(where.step, None)
        if where.kind in one.kinds:
            one.context(n, keys, keys, where)
    return method.attend(q, k, v, where, others)


def places(at):
    """sin and cos of pi, 2 pi, 4 pi times a place."""
    angle = torch.pi * at * torch.tensor([1.0, 2.0, 4.0])
    return torch.cat([angle.sin(), angle.cos()])


def prompt_by_hand(weights, text, people, sigma, layer=LAYER, across=None):
    """The multimodal prompt of one row [L, W]: every bound token goes through the MLP alone.
    across: where the people stand, by default side by side in this order.
    """
    t = weights.tensors
    out = text.clone()
    for number, one in enumerate(people):
        vectors = one.subject.faces.vectors[:, 0]
        feature = (vectors / vectors.norm(dim=-1, keepdim=True)).mean(0) * DIMENSION**0.5
        angle = torch.atan(torch.tensor(sigma)) * torch.tensor([1.0, 2.0, 4.0, 8.0])
        time = torch.cat([angle.sin(), angle.cos()]) @ t["binder.time.weight"].T
        time = time + t["binder.layer"][LAYERS.index(layer)]
        stands = (number + 0.5) / len(people) if across is None else across[number]
        shown = t["binder.picture.weight"] @ feature + t["binder.picture.bias"] + time
        shown = shown + t["binder.place.weight"] @ places(stands)
        for place in one.tokens:
            x = torch.cat([text[place], shown])
            x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
            x = x * t["binder.norm.weight"] + t["binder.norm.bias"]
            x = torch.nn.functional.silu(t["binder.enter.weight"] @ x + t["binder.enter.bias"])
            out[place] = text[place] + t["binder.leave.weight"] @ x + t["binder.leave.bias"]
    return out


def routes_by_hand(weights, n, kind, temperature=1.0, layer=LAYER):
    """R of one row, [N, 2]: prior, personalised."""
    t = {k: weights.tensors[f"router.{layer}.{kind}.{k}"] for k in _PARTS}
    x = (n - n.mean(-1, keepdim=True)) / (n.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = x * t["norm.weight"] + t["norm.bias"]
    x = torch.nn.functional.silu(x @ t["enter.weight"].T + t["enter.bias"])
    return ((x @ t["leave.weight"].T + t["leave.bias"]) / temperature).softmax(-1)


def expert_by_hand(weights, n, seen, kind, layer=LAYER):
    """What the personalised expert alone says for one row, [H, N, d]."""
    p = weights.expert(layer, kind)
    q, k, v = n @ p.to_q.T, seen @ p.to_k.T, seen @ p.to_v.T
    if kind == "cross":
        height, width = GRID
        for cell in range(height * width):
            down, across = divmod(cell, width)
            at = torch.cat([places((across + 0.5) / width), places((down + 0.5) / height)])
            q[cell] += weights.tensors[f"expert.{layer}.cross.place"] @ at
    return attention(*(heads(x[None]) for x in (q, k, v)))[0]


_PARTS = tuple(f"{a}.{b}" for a in ("norm", "enter", "leave") for b in ("weight", "bias"))
