"""`mannequin bench startup`: what the pack adds to ComfyUI's start.

ComfyUI's own function loads the pack in a fresh interpreter that has already imported what ComfyUI
imports before it comes to custom nodes; the clock is around that call, as ComfyUI's own is. With
and without diffusers and triton installed: those that are to be missing cannot be imported.
The checkout is COMFYUI_DIR, or ~/comfy/ComfyUI; its interpreter is its own .venv, or ours.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
REPEATS = 5
LIMIT = 0.3
MISSING = ((), ("diffusers",), ("triton",), ("diffusers", "triton"))
CHILD = """
import sys
comfyui, pack, *missing = sys.argv[1:]
sys.path.insert(0, comfyui)
sys.argv = ["main.py", "--cpu"]

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Missing())
import comfy.options
comfy.options.enable_args_parsing()
import asyncio, json, time
import utils.extra_config  # as main.py does, before nodes.py hides `utils`
import execution, server, nodes

before = set(sys.modules)
start, busy = time.perf_counter(), time.process_time()
loaded = asyncio.run(nodes.load_custom_node(pack))
seconds, busy = time.perf_counter() - start, time.process_time() - busy
ours = sorted(name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("Mannequin"))
tops = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
print(json.dumps({"loaded": loaded, "seconds": seconds, "cpu_seconds": busy,
    "nodes": ours, "imported": tops}))
"""


def load(comfyui: Path, pack: Path = PACK, missing: tuple[str, ...] = ()) -> dict:
    """One load in a fresh interpreter: loaded, seconds on the clock and of the processor, the names
    of our nodes, and the packages that were imported for it. Raises RuntimeError with ComfyUI's
    words when the child fails.
    """
    own = comfyui / ".venv" / "bin" / "python"
    python = os.environ.get("COMFYUI_PYTHON") or (str(own) if own.exists() else sys.executable)
    done = subprocess.run(
        [python, "-c", CHILD, str(comfyui), str(pack), *missing],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"ComfyUI in {comfyui} did not start:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(seed: int, out: Path) -> None:
    """Measures all four and writes the figures; nothing in it is random, the seed is not used."""
    comfyui = Path(os.environ.get("COMFYUI_DIR", "~/comfy/ComfyUI")).expanduser()
    if not (comfyui / "nodes.py").is_file():
        raise SystemExit(f"expected ComfyUI in {comfyui}; set COMFYUI_DIR to its folder")
    figures = {}
    for missing in MISSING:
        runs = [load(comfyui, missing=missing) for _ in range(REPEATS)]
        name = "without " + " and ".join(missing) if missing else "with both"
        figures[name] = {
            "median_s": round(statistics.median(entry["seconds"] for entry in runs), 3),
            "best_s": round(min(entry["seconds"] for entry in runs), 3),
            "median_cpu_s": round(statistics.median(entry["cpu_seconds"] for entry in runs), 3),
            "imported": runs[0]["imported"],
        }
    version = (comfyui / "comfyui_version.py").read_text(encoding="utf-8").split('"')[1]
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"comfyui": version, "repeats": REPEATS, "limit_s": LIMIT, "added_to_start": figures}
    out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(0, Path(sys.argv[1] if len(sys.argv) > 1 else "out/startup.json"))
