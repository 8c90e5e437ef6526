"""Compiles the Triton programs for GPUs that are not there, and reads what the compilers made.

`python tests/kernels/triton_compiled.py --write` adds to triton_compiled.json what it lacks (all
of it takes half an hour; delete the file to make it anew); `... CASE...` prints what the named
cases give now. Must run without TRITON_INTERPRET.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mannequin.kernels import triton_kernels
from mannequin.kernels.triton_tiles import AMD, CUDA, RDNA, Tiles, power, tiles

GOLDEN = Path(__file__).with_suffix(".json")
LEAN = {"SECOND": True, "BIAS_A": False, "BIAS_B": False, "MIX": False, "CARRY": False}
FULL = {"SECOND": True, "BIAS_A": True, "BIAS_B": True, "MIX": False, "CARRY": True}
VARIANTS: dict[str, tuple[str, dict[str, bool]]] = {
    "plain": ("forward", {**LEAN, "MOMENTS": False, "EVEN": True}),
    "flow": ("forward", {**LEAN, "MOMENTS": True, "EVEN": True}),
    "full": ("forward", {**FULL, "MOMENTS": True, "EVEN": False}),
    "mixed": ("forward", {**FULL, "MIX": True, "MOMENTS": False, "EVEN": False}),
    "queries": ("backward_queries", dict.fromkeys(("BIASED", "MOMENTS", "TABLE"), True)),
    "keys": ("backward_keys", dict.fromkeys(("BIASED", "TABLE"), True)),
}
"""Those that cost least and most of each program; the backward ones with ragged lengths."""
NUMBERS = ("scale", "strength", "factor")
FP32 = ("averages", "log_sums", "delta", "bias", "bias_a", "bias_b")
MMA = re.compile(r"^(U?[HIQ]G?MMA|UTC\w*MMA)$")


def source(variant: str, width: int, dtype: str, tile: Tiles, kind: str) -> ASTSource:
    """A program as the launches in kernels/triton.py would have it compiled."""
    program, flags = VARIANTS[variant]
    function = getattr(triton_kernels, program)
    constants: dict[str, Any] = {
        "D": width, "BD": power(width), "E": width, "BE": power(width), "EVEN": False, **flags,
        "BLOCK_M": tile.m, "BLOCK_N": tile.n, "ALIGNED": True,
        "PRECISION": "tf32x3" if kind == "cuda" and dtype == "fp32" else "ieee",
    }  # fmt: skip
    biased = {"bias_a": "BIAS_A", "bias_b": "BIAS_B", "bias": "BIASED"}
    absent = [name for name, flag in biased.items() if not constants.get(flag, True)]
    if not constants.get("MOMENTS", True):
        absent.append("table")
    if not constants.get("MIX", True):
        absent.append("weights")
    constants |= {name: None for name in absent if name in function.arg_names}
    types = {}
    for name in function.arg_names:
        if name in constants:
            types[name] = "constexpr"
        elif name in NUMBERS:
            types[name] = "fp32"
        elif re.fullmatch(r"s[a-z]+_[bhn]|heads|n|n_[qab]", name):
            types[name] = "i32"
        else:
            types[name] = "*fp32" if name in FP32 else f"*{dtype}"
    aligned = [
        name
        for name, kind in types.items()
        if kind.startswith("*") or (kind == "i32" and not name.endswith("_h") and name != "heads")
    ]
    if not constants["EVEN"]:
        aligned = [name for name in aligned if name not in ("n_q", "n_a", "n_b", "n")]
    attrs = {(function.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    return ASTSource(fn=function, signature=types, constexprs=constants, attrs=attrs)


def measure(case: str, tile: Tiles | None = None) -> dict[str, Any]:
    """What a case "variant target width dtype" compiles to."""
    variant, arch, width, dtype = case.split()
    kind = "hip" if arch.startswith("gfx") else "cuda"
    arch = arch if kind == "hip" else int(arch)
    program = VARIANTS[variant][0]
    tile = tile or tiles(program, kind, arch, int(width), variant in ("plain", "flow"))
    warp = 64 if arch == "gfx942" else 32
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    compiled = triton.compile(
        source(variant, int(width), dtype, tile, kind),
        target=GPUTarget(kind, arch, warp),
        options=options,
    )
    read = read_amd if kind == "hip" else read_nvidia
    limit = (AMD if kind == "hip" else CUDA)[arch]
    shared = compiled.metadata.shared
    return {
        "tiles": [tile.m, tile.n, tile.warps, tile.stages],
        "shared": shared,
        "fits": shared <= limit * 1024,
        **read(compiled.asm),
    }


def read_nvidia(asm: dict[str, Any]) -> dict[str, int]:
    """Registers, spilled bytes, tensor-core instructions, and the lengths of the loops with any."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(asm["cubin"])
        usage, sass = (
            subprocess.run([tool, option, cubin], capture_output=True, text=True, check=True).stdout
            for tool, option in (
                (knobs.nvidia.cuobjdump.path, "-res-usage"),
                (knobs.nvidia.nvdisasm.path, "-c"),
            )
        )
    number = {key: int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK", "LOCAL")}
    names, labels, loops = [], {}, []
    for line in sass.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(names)
        elif done := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);", line):
            names.append(done[1].split(".")[0])
            jump = re.search(r"`\((\.L_\w+)\)", done[2])
            if names[-1] == "BRA" and jump and labels.get(jump[1], len(names)) < len(names):
                loops.append((labels[jump[1]], len(names)))
    found = [Counter(names[start:end]) for start, end in loops]
    counts = [(sum(c.values()), sum(n for op, n in c.items() if MMA.match(op))) for c in found]
    counts = [c for c in counts if c[1]]
    return {
        "registers": number["REG"],
        "spilled": number["STACK"] + number["LOCAL"],
        "matrix": sum(1 for name in names if MMA.match(name)),
        "loops": [n for n, _ in counts],
    }


def read_amd(asm: dict[str, Any]) -> dict[str, int]:
    """The same from AMD's assembly."""
    text = asm["amdgcn"]

    def number(key: str) -> int:
        found = re.search(rf"\.{key}:\s+(\d+)", text)
        return int(found[1]) if found else 0

    lines, labels, loops = [], {}, []
    for line in text.splitlines():
        if label := re.match(r"(\.LBB\w+):", line):
            labels[label[1]] = len(lines)
        elif done := re.match(r"\s+([vsdgb][a-z]*_\w+)\s*(.*)", line):
            lines.append(done[1])
            target = done[2].split(";")[0].strip()
            if done[1].startswith("s_cbranch") and target in labels:
                loops.append((labels[target], len(lines)))
    matrix = re.compile(r"v_(mfma|wmma)")
    counts = [
        (end - start, sum(1 for op in lines[start:end] if matrix.match(op))) for start, end in loops
    ]
    return {
        "registers": number("vgpr_count"),
        "spilled": number("vgpr_spill_count") + number("private_segment_fixed_size"),
        "matrix": sum(1 for op in lines if matrix.match(op)),
        "loops": [n for n, m in counts if m],
    }


def all_cases() -> list[str]:
    """Everything that can run, in fp16, and each program's most costly variant in bf16."""
    return [
        f"{variant} {arch} {width} {dtype}"
        for width in (40, 80)
        for dtype in ("fp16", "bf16")
        for arch in ("120", "gfx1100", "80", "gfx942", "90", "gfx1201", "100", "86", "89")
        for variant in ("full", "keys", "queries", "flow", "plain", "mixed")
        if not (arch in RDNA and width > 64 and variant in ("keys", "queries"))
        and not (dtype == "bf16" and variant in ("plain", "flow", "mixed"))
    ]


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        knobs.cache.dir = folder
        if arguments != ["--write"]:
            print(json.dumps({case: measure(case) for case in arguments}))
            return
        known = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
        for case in all_cases():
            if case not in known:
                known[case] = measure(case)
                lines = (f"{json.dumps(name)}: {json.dumps(known[name])}" for name in known)
                GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    assert not os.environ.get("TRITON_INTERPRET"), "the interpreter compiles nothing"
    main(sys.argv[1:])
