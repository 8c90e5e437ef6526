"""`mannequin bench kernels`: what the attention primitives cost on this machine's processor.

With 2 threads. The cases of a comparison run in turn in one process, and each one's CPU time is
its least: what else the machine does hits all alike. Memory is what the peak of a process of its
own grew by during a case's first run.
What is measured against what, in `CASES`: torch's fused attention with keys that already lie
concatenated, two such calls and a blend, and the implementations that hold the attention map.
Nothing here comes from a GPU.
"""

import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import kernels
from ...kernels import eager
from ...methods.flow_record import cell_centres
from ...methods.leffa import leffa_loss

HEADS, WIDTH, TOKENS = 8, 40, 4096
LONGEST = 16384
SECONDS, THREADS = 8, 2
LAYERS = [((64, 48), 40)] * 5 + [((32, 24), 80)] * 5 + [((16, 12), 160)] * 5
"""SD1.5's self-attentions at 512x384 with a grid of at least 1/32, as Leffa's loss uses them."""
PICTURE = (512, 384)
KEYS = {"short": (77, 16), "long": (TOKENS, TOKENS)}
WAYS = ("forward", "backward")
TAU = 2.0

Work = Callable[[], Tensor]
MIB = 2**20


def _random(*lengths: int, grad: bool, width: int = WIDTH) -> list[Tensor]:
    return [torch.randn(1, HEADS, n, width, requires_grad=grad) for n in lengths]


def _flow(n: int, grad: bool, how: str) -> Work:
    """Attention of n queries to n own and n reference keys, with mass and flow or plain."""
    side = math.isqrt(n)
    xy = cell_centres((side, n // side), align_corners=False)
    moments = torch.cat([torch.ones(n, 1), xy], 1)
    if how == "plain":
        q, keys, values = _random(n, 2 * n, 2 * n, grad=grad)
        return lambda: F.scaled_dot_product_attention(q, keys, values).square().sum()
    module = {"ours": kernels, "map": eager}[how]
    q, k, v, k_ref, v_ref = _random(n, n, n, n, n, grad=grad)

    def work() -> Tensor:
        out, averages = module.reference_attention(q, k, v, k_ref, v_ref, moments)
        return out.square().sum() + averages.square().sum()

    return work


def _leffa(how: str) -> Work:
    """The Leffa loss of one picture over all layers."""
    function = {"ours": kernels, "map": eager}[how].flow_of_attention
    layers = [
        (grid, *_random(grid[0] * grid[1], grid[0] * grid[1], grad=True, width=width))
        for grid, width in LAYERS
    ]
    reference, target = torch.rand(2, 1, 3, *PICTURE)
    mask = torch.ones(1, 1, *PICTURE)

    def work() -> Tensor:
        total = 0
        for grid, q, k in layers:
            flow = function(q, k, cell_centres(grid, align_corners=True), TAU)
            total = total + leffa_loss(flow.mT.unflatten(-1, grid), reference, target, mask)
        return total

    return work


def _two(keys: tuple[int, int], grad: bool, how: str) -> Work:
    """Two sources with queries of their own: mixed, joint, or two stock calls and a blend."""
    a, b = (_random(TOKENS, m, m, grad=grad) for m in keys)
    share = torch.rand(1, TOKENS, 1)
    weights = torch.cat([share, 1 - share], -1).requires_grad_(grad)

    def stock() -> Tensor:
        first, second = (F.scaled_dot_product_attention(*s) for s in (a, b))
        return weights[:, None, :, :1] * first + weights[:, None, :, 1:] * second

    function = {
        "stock": stock,
        "mixture": lambda: kernels.mixture_attention([a, b], weights),
        "joint": lambda: kernels.joint_attention([a, b]),
    }[how]
    return lambda: function().square().sum()


GROUPS: tuple[tuple[str, ...], ...] = (
    *(tuple(f"flow {how} {TOKENS} {way}" for how in ("plain", "ours", "map")) for way in WAYS),
    (f"flow plain {LONGEST} forward", f"flow ours {LONGEST} forward"),
    ("leffa ours", "leffa map"),
    *(
        tuple(f"two {how} {length} {way}" for how in ("stock", "mixture", "joint"))
        for length in KEYS
        for way in WAYS
    ),
)
"""Cases that are compared with each other."""


def make(case: str) -> Work:
    """The work of a case, by its name."""
    kind, how, *rest = case.split()
    if kind == "leffa":
        return _leffa(how)
    length, way = rest
    grad = way == "backward"
    return _flow(int(length), grad, how) if kind == "flow" else _two(KEYS[length], grad, how)


def _once(case: str, work: Work) -> float:
    """Seconds of CPU time of one run."""
    start = time.process_time()
    if case.endswith("forward"):
        with torch.no_grad():
            work()
    else:
        work().backward()
    return time.process_time() - start


def seconds(cases: Sequence[str]) -> dict[str, float]:
    """Each case's least CPU time; they take turns."""
    works = {case: make(case) for case in cases}
    first = sum(_once(case, work) for case, work in works.items())
    rounds = max(3, min(50, int(SECONDS / first)))
    times = [{case: _once(case, work) for case, work in works.items()} for _ in range(rounds)]
    return {case: min(row[case] for row in times) for case in cases}


def memory(cases: Sequence[str]) -> dict[str, float]:
    """How much the peak grows in the first run of the only case, MiB."""
    (case,) = cases
    work = make(case)
    before = _peak()
    _once(case, work)
    return {case: _peak() - before}


def _warm_up() -> None:
    """Loads what a first call loads: threads, the matrix library, autograd."""
    for way in (False, True):
        q, k = _random(64, 64, grad=way)
        work = kernels.reference_attention(q, k, k, k, k, torch.ones(64, 1))[0]
        flow = kernels.flow_of_attention(q, k, torch.ones(64, 2))
        if way:
            (work.sum() + flow.sum() + eager.joint_attention([(q, k, k)]).sum()).backward()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def _apart(what: str, cases: Sequence[str], seed: int) -> dict[str, float]:
    """`seconds` or `memory` in a process of its own, where waiting threads cost no CPU time."""
    command = [sys.executable, "-m", __name__, what, str(seed), *cases]
    env = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return json.loads(done.stdout)


def run(seed: int, out: Path) -> dict[str, float]:
    """Measures every case, writes `out` (JSON) and a table beside it, returns the figures."""
    got: dict[str, dict[str, float]] = {}
    for cases in GROUPS:
        times = _apart("seconds", cases, seed)
        for case in cases:
            got[case] = {"seconds": times[case], **_apart("memory", [case], seed)}
            got[case]["mib"] = got[case].pop(case)
            print(f"{case}: {got[case]['seconds']:.3f} s, {got[case]['mib']:.0f} MiB", flush=True)

    def ratio(unit: str, a: str, b: str) -> float:
        return got[a][unit] / got[b][unit]

    def worst(unit: str, how: str, way: str) -> float:
        return max(
            ratio(unit, f"two {how} {length} {way}", f"two stock {length} {way}")
            for length in ("short", "long")
        )

    n = TOKENS
    ours, plain, held = (f"flow {how} {n}" for how in ("ours", "plain", "map"))
    figures = {
        "seed": seed,
        "flow_fwd_ratio": ratio("seconds", f"{ours} forward", f"{plain} forward"),
        "flow_fwdbwd_ratio": ratio("seconds", f"{ours} backward", f"{plain} backward"),
        "flow_memory_ratio": ratio("mib", f"{ours} forward", f"{held} forward"),
        "flow_memory_growth": ratio("mib", f"flow ours {LONGEST} forward", f"{ours} forward"),
        "leffa_time_ratio": ratio("seconds", "leffa ours", "leffa map"),
        "leffa_memory_ratio": ratio("mib", "leffa ours", "leffa map"),
    }
    for how in ("mixture", "joint"):
        figures[f"{how}_ratio"] = worst("seconds", how, "forward")
        figures[f"{how}_fwdbwd_ratio"] = worst("seconds", how, "backward")
        figures[f"{how}_memory_ratio"] = worst("mib", how, "forward")
        figures[f"{how}_fwdbwd_memory_ratio"] = worst("mib", how, "backward")
    out = Path(out)
    out.write_text(json.dumps({**figures, "measured": got}, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(figures, got), encoding="utf-8")
    return figures


def table(figures: dict[str, float], got: dict[str, dict[str, float]]) -> str:
    """What was measured, and the ratios with what they must reach."""
    machine = f"{platform.machine()} processor, {THREADS} threads, torch {torch.__version__}, fp32"
    rows = [
        f"`mannequin bench kernels --seed {figures['seed']}`, {machine}. Nothing was measured on a "
        "GPU: GPU speed is unmeasured.",
        "",
        f"Reference attention: {HEADS} heads of {WIDTH}, N queries, N own and N reference keys. "
        f"Leffa loss: {len(LAYERS)} layers of SD1.5 at 512x384, forward and backward. Two sources: "
        f"{TOKENS} queries, keys 77 + 16 (short) or {TOKENS} + {TOKENS} (long); "
        "stock is two calls of torch's attention and a blend. A map is the implementation that "
        "holds it. Backward rows are forward and backward.",
        "",
        "| ratio | measured | to reach |",
        "|---|---|---|",
    ]
    for name, goal in GOALS.items():
        rows.append(f"| {name} | {figures[name]:.3f} | {goal} |")
    rows += ["", "| case | CPU time (s) | peak memory above its inputs (MiB) |", "|---|---|---|"]
    for case, cost in got.items():
        rows.append(f"| {case} | {cost['seconds']:.3f} | {cost['mib']:.0f} |")
    return "\n".join(rows) + "\n"


GOALS = {
    "flow_fwd_ratio": "<= 1.3",
    "flow_fwdbwd_ratio": "<= 1.15",
    "flow_memory_ratio": "<= 0.05",
    "flow_memory_growth": f"about {LONGEST // TOKENS} (linear)",
    "leffa_time_ratio": "<= 0.333",
    "leffa_memory_ratio": "<= 0.1",
    "mixture_ratio": "<= 1",
    "mixture_memory_ratio": "< 1",
    "mixture_fwdbwd_ratio": "<= 1",
    "mixture_fwdbwd_memory_ratio": "< 1",
    "joint_ratio": "<= 1",
    "joint_memory_ratio": "< 1",
    "joint_fwdbwd_ratio": "<= 1",
    "joint_fwdbwd_memory_ratio": "< 1",
}


if __name__ == "__main__":
    torch.manual_seed(int(sys.argv[2]))
    torch.set_num_threads(THREADS)
    _warm_up()
    print(json.dumps({"seconds": seconds, "memory": memory}[sys.argv[1]](sys.argv[3:])))
