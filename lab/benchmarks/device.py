"""`mannequin kernels --self-test`: every backend that runs here against the definition, and timed.

For whoever has a GPU: nobody has run it on one yet, and every document says that GPU speed is
unmeasured until somebody does. It also runs on a processor.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from ... import kernels
from ...kernels import eager
from ...kernels.backends import REGISTRY
from ...kernels.report import usual_device

WIDTHS, LENGTHS = (40, 64, 80, 160), (77, 256)
HEADS, TOKENS, REPEATS = 8, 4096, 10
ROUNDINGS = 12
Call = Callable[..., tuple[Tensor, ...]]


def _reference(module: object, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    n = k.shape[2]
    xy = torch.linspace(-1, 1, 2 * n, device=q.device).view(n, 2).to(q)
    return module.reference_attention(q, k, v, k, v, xy, 0.5)


def _joint(module: object, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    return (module.joint_attention([(q, k, v), (q + 1, k[:, :, :5], v[:, :, :5])]),)


def _mixture(module: object, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    weights = torch.full((len(q), q.shape[2], 2), 0.5, device=q.device, dtype=q.dtype)
    return (module.mixture_attention([(q, k, v), (q + 1, k[:, :, :5], v[:, :, :5])], weights),)


def _flow(module: object, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    n = k.shape[2]
    xy = torch.linspace(-1, 1, 2 * n, device=q.device).view(n, 2).to(q)
    return (module.flow_of_attention(q, k, xy, 2.0),)


CALLS: dict[str, Call] = {
    "reference_attention": _reference,
    "joint_attention": _joint,
    "mixture_attention": _mixture,
    "flow_of_attention": _flow,
}


def _all(call: Call, module: object, inputs: list[Tensor]) -> list[Tensor]:
    """Outputs and gradients, in fp64."""
    inputs = [t.detach().requires_grad_() for t in inputs]
    outs = call(module, *inputs)
    grads = torch.autograd.grad(sum(o.square().sum() for o in outs), inputs, allow_unused=True)
    return [t.detach().double() for t in (*outs, *grads) if t is not None]


def worst_error(call: Call, device: torch.device, dtype: torch.dtype) -> float:
    """The largest error over widths and lengths, in roundings of the dtype."""
    worst = 0.0
    for width in WIDTHS:
        for n in LENGTHS:
            g = torch.Generator().manual_seed(width * n)
            inputs = [torch.randn(2, 2, m, width, generator=g) for m in (n, n + 3, n + 3)]
            inputs = [t.to(device, dtype) for t in inputs]
            exact = _all(call, eager, [t.double().cpu() for t in inputs])
            for got, expected in zip(_all(call, kernels, inputs), exact, strict=True):
                size = max(1.0, expected.abs().max().item(), n**0.5)
                error = (got.cpu() - expected).abs().max().item()
                worst = max(worst, error / size / torch.finfo(dtype).eps)
    return worst


def seconds(call: Call, device: torch.device, dtype: torch.dtype, tokens: int) -> float:
    """The median time of a forward with that many queries and keys."""
    inputs = [torch.randn(1, HEADS, tokens, 40, device=device, dtype=dtype) for _ in range(3)]
    times = []
    with torch.no_grad():
        for _ in range(REPEATS + 2):
            _wait(device)
            start = time.perf_counter()
            call(kernels, *inputs)
            _wait(device)
            times.append(time.perf_counter() - start)
    return sorted(times[2:])[REPEATS // 2]


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def report(tokens: int = TOKENS) -> str:
    """A table of every backend that accepts a call here; each is asked to run it alone."""
    device = usual_device()
    dtypes = [torch.float32] if device.type == "cpu" else [torch.float16, torch.bfloat16]
    rows = [f"{device}, forward of {tokens} queries in {HEADS} heads of 40"]
    for dtype in dtypes:
        for operation, call in CALLS.items():
            for name in REGISTRY.names():
                line = f"{operation} {str(dtype).removeprefix('torch.')} {name}: "
                if name == "eager":
                    continue
                with REGISTRY.only(name):
                    try:
                        error = worst_error(call, device, dtype)
                        took = seconds(call, device, dtype, tokens)
                    except RuntimeError as failure:
                        rows.append(line + str(failure).splitlines()[0])
                        continue
                verdict = "right" if error <= ROUNDINGS else "WRONG"
                rows.append(line + f"{verdict} ({error:.1f} roundings), {took * 1000:.2f} ms")
    return "\n".join(rows)
