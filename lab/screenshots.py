"""Pictures of the workflows on ComfyUI's canvas: `python -m mannequin.lab.screenshots`.

Starts a real ComfyUI (COMFYUI_DIR), opens every workflow from the template browser, runs those
whose weights ship, and writes docs/graphs/X.jpg. Names of workflows as arguments: only these.
"""

import sys
import tempfile
from pathlib import Path

from . import browser, comfyui_server
from .checkpoint_workflows import CHECKPOINT
from .graph import Workflow
from .moa_controlnet_workflow import STAND_INS
from .workflows import WORKFLOWS

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "graphs"
LARGEST, QUALITIES = 250_000, (80, 70, 60, 50)  # bytes of one picture; the first that fits
NOT_SHIPPED = (
    "mannequin/leffa_virtual_tryon.safetensors",
    "mannequin/leffa_pose_transfer.safetensors",
    f"checkpoints/{CHECKPOINT['name']}",
    *STAND_INS,
)


def main(names: list[str]) -> None:
    comfyui = comfyui_server.comfyui_dir()
    lacking = comfyui_server.missing(comfyui)
    if lacking:
        raise SystemExit(lacking)
    OUT.mkdir(parents=True, exist_ok=True)
    shipped = {path.name for path in (ROOT / "weights").rglob("*.safetensors")}
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"  # these workflows are drawn, not run: the name is enough
        empty.touch()
        stand_ins = dict.fromkeys(NOT_SHIPPED, empty)
        with comfyui_server.server(Path(folder) / "comfyui", comfyui, stand_ins) as address:
            for make in WORKFLOWS:
                workflow = make()
                if not names or workflow.name in names:
                    draw(address, workflow, runs=files_of(workflow) <= shipped)


def files_of(workflow: Workflow) -> set[str]:
    """The weights that a workflow names."""
    named = (value for node in workflow.nodes for value in node.inputs.values())
    return {value for value in named if str(value).endswith(".safetensors")}


def draw(address: str, workflow: Workflow, runs: bool) -> None:
    """Opens a workflow, runs it where it can, and writes what the canvas shows."""
    name, path = workflow.name, OUT / f"{workflow.name}.jpg"
    titles = {node.title for node in workflow.nodes}
    with browser.editor(address) as editor:
        editor.open_template(name)
        if runs:
            status = editor.run()["status"]
            if status["status_str"] != "success":
                raise SystemExit(f"{name}: {status['messages'][-1]}")
            for title in ("Flow preview", "Save result", "Save with detail"):
                if title in titles:
                    editor.shown(title)
        for quality in QUALITIES:
            editor.picture(path, quality=quality)
            if path.stat().st_size <= LARGEST:
                break
        wrong = editor.unknown() + editor.problems
    if wrong:
        raise SystemExit(f"{name}: {wrong}")
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; at most {LARGEST} are wanted.")
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
