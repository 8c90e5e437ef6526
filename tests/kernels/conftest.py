"""Calls of every operation with drawn shapes, and what the definition in fp64 says to them."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from mannequin.kernels import eager

LENGTHS = st.one_of(st.sampled_from([1, 4, 77, 129]), st.integers(1, 90))
WIDTHS = st.sampled_from([8, 20, 32, 40, 64, 80, 128, 160])
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
ROUNDINGS = 10
LAYOUTS = st.sampled_from(
    ["packed", "heads inside", "channels apart", "shared batch", "inside NaN"]
)


def tensor(shape: tuple[int, ...], layout: str, dtype: torch.dtype, g: torch.Generator) -> Tensor:
    """A random [B, H, N, d] with the given strides."""
    b, h, n, d = shape
    if layout == "heads inside":
        t = torch.randn(b, n, h, d, generator=g).transpose(1, 2)
    elif layout == "channels apart":
        t = torch.randn(b, h, d, n, generator=g).mT
    elif layout == "shared batch":
        t = torch.randn(1, h, n, d, generator=g).expand(b, -1, -1, -1)
    elif layout == "inside NaN":
        t = torch.full((b, h, n + 70, d + 100), torch.nan)[:, :, 1 : n + 1, 1 : d + 1]
        t.copy_(torch.randn(b, h, n, d, generator=g))
        whole = t.as_strided((b, h, n + 70, d + 100), t.stride(), 0).to(dtype)
        return whole[:, :, 1 : n + 1, 1 : d + 1]
    else:
        t = torch.randn(b, h, n, d, generator=g)
    return t.to(dtype)


class Case:
    """A call; `tensors` are differentiated, `call(module, *tensors)` gives all outputs."""

    def __init__(self, tensors: list[Tensor], call: Callable[..., tuple[Tensor, ...]]) -> None:
        self.tensors, self.call = tensors, call

    def __repr__(self) -> str:
        first = self.tensors[0]
        return f"{first.dtype} {[list(t.shape) for t in self.tensors]} strides {first.stride()}"

    def __call__(self, module: ModuleType, dtype: torch.dtype | None = None) -> list[Tensor]:
        """Outputs, then gradients of a fixed random sum of them."""
        inputs = [t.detach().to(dtype or t.dtype).requires_grad_() for t in self.tensors]
        outs = self.call(module, *inputs)
        g = torch.Generator().manual_seed(7)
        sums = (o * torch.randint(-2, 3, o.shape, generator=g).to(o) for o in outs)
        grads = torch.autograd.grad(sum(s.sum() for s in sums), inputs)
        return [t.detach() for t in (*outs, *grads)]

    def assert_equals_eager(self, module: ModuleType, rtol: float = 1.0) -> None:
        """Within a few roundings of fp64, of the largest entry or of a sum over all positions or
        channels, which may cancel: with one key the gradient of q and k is a difference of equals.
        """
        eps = torch.finfo(self.tensors[0].dtype).eps
        with_grad = self(module)
        terms = max(max(t.shape[-2:]) for t in self.tensors) ** 0.5
        for number, (got, expected) in enumerate(
            zip(with_grad, self(eager, torch.float64), strict=True)
        ):
            error = (got.double() - expected).abs().max().item()
            size = max(terms, expected.abs().max().item())
            assert error <= ROUNDINGS * rtol * eps * size, (number, error, size)
        with torch.no_grad():
            outs = self.call(module, *self.tensors)
        for out, same in zip(outs, with_grad, strict=False):
            error = (out.double() - same.double()).abs().max().item()
            assert error <= ROUNDINGS * rtol * eps * max(terms, same.abs().max().item())


def mask(draw: Callable, batch: int, keys: int, g: torch.Generator) -> Tensor | None:
    """No mask, a random one, or one that hides everything in the last batch row."""
    kind = draw(st.sampled_from(["none", "none", "some", "a row hidden"]))
    if kind == "none":
        return None
    seen = torch.rand(batch, keys, generator=g) < 0.6
    if kind == "a row hidden":
        seen[-1] = False
    return seen


@st.composite
def reference_cases(draw, dtypes=DTYPES, widths=WIDTHS, lengths=LENGTHS) -> Case:
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    dtype, d, layout = draw(dtypes), draw(widths), draw(LAYOUTS)
    n, own, m = (draw(lengths) for _ in range(3))
    shapes = [(2, 3, length, d) for length in (n, own, own, m, m)]
    c = draw(st.sampled_from([0, 2, 4, 8]))
    moments = torch.rand(m, c, generator=g).to(dtype) * 2 - 1 if c else None
    strength = draw(st.sampled_from([0.0, -1.0, 0.5, "per key"]))
    if strength == "per key":
        strength = torch.randn(2, m, generator=g).to(dtype)
    temperature, seen = draw(st.sampled_from([1.0, 2.0])), mask(draw, 2, m, g)

    def call(module, *qkv):
        to = qkv[0].dtype
        bias = strength.to(to) if isinstance(strength, Tensor) else strength
        table = None if moments is None else moments.to(to)
        out, averages = module.reference_attention(*qkv, table, bias, temperature, seen)
        assert (averages is None) == (c == 0)
        return (out,) if averages is None else (out, averages)

    return Case([tensor(s, layout, dtype, g) for s in shapes], call)


def _sources(draw, dtypes, widths, lengths):
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    dtype, d, layout = draw(dtypes), draw(widths), draw(LAYOUTS)
    n, lengths = draw(lengths), draw(st.lists(lengths, min_size=1, max_size=3))
    tensors = [tensor((2, 3, s, d), layout, dtype, g) for m in lengths for s in (n, m, m)]
    masks = [mask(draw, 2, m, g) for m in lengths]
    return g, tensors, masks, n


def _triples(flat) -> list[tuple[Tensor, ...]]:
    return list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))


@st.composite
def joint_cases(draw, dtypes=DTYPES, widths=WIDTHS, lengths=LENGTHS) -> Case:
    _, tensors, masks, _ = _sources(draw, dtypes, widths, lengths)
    temperature, one_query = draw(st.sampled_from([1.0, 2.0])), draw(st.booleans())
    if one_query:
        tensors = [tensors[0], *(t for i, t in enumerate(tensors) if i % 3)]

    def call(module, *flat):
        if one_query:
            pairs = zip(flat[1::2], flat[2::2], strict=True)
            flat = [t for k, v in pairs for t in (flat[0], k, v)]
        return (module.joint_attention(_triples(flat), temperature, masks),)

    return Case(tensors, call)


@st.composite
def mixture_cases(draw, dtypes=DTYPES, widths=WIDTHS, lengths=LENGTHS) -> Case:
    g, tensors, masks, n = _sources(draw, dtypes, widths, lengths)
    weights = torch.rand(2, n, len(masks), generator=g).to(tensors[0].dtype)

    def call(module, weights, *flat):
        return (module.mixture_attention(_triples(flat), weights, 1.0, masks),)

    return Case([weights, *tensors], call)


@st.composite
def flow_cases(draw, dtypes=DTYPES, widths=WIDTHS, lengths=LENGTHS) -> Case:
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    dtype, d, layout = draw(dtypes), draw(widths), draw(LAYOUTS)
    n, m, tau = draw(lengths), draw(lengths), draw(st.sampled_from([1.0, 2.0]))
    xy, seen = torch.rand(m, 2, generator=g).to(dtype) * 2 - 1, mask(draw, 2, m, g)

    def call(module, q, k):
        return (module.flow_of_attention(q, k, xy.to(q), tau, seen),)

    return Case([tensor((2, 3, s, d), layout, dtype, g) for s in (n, m)], call)


CASES = {
    "reference_attention": reference_cases,
    "joint_attention": joint_cases,
    "mixture_attention": mixture_cases,
    "flow_of_attention": flow_cases,
}


@pytest.fixture(scope="session")
def cases():
    return CASES
