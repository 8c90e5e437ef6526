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
from .inpaint_workflows import TINY_INPAINT
from .person_workflows import TINY
from .workflows import WORKFLOWS

OUT = Path(__file__).resolve().parents[1] / "docs" / "graphs"
LARGEST = 250_000  # bytes of one picture
NOT_SHIPPED = (
    "mannequin/leffa_virtual_tryon.safetensors",
    "mannequin/leffa_pose_transfer.safetensors",
    f"checkpoints/{CHECKPOINT['name']}",
)


def main(names: list[str]) -> None:
    comfyui = comfyui_server.comfyui_dir()
    lacking = comfyui_server.missing(comfyui)
    if lacking:
        raise SystemExit(lacking)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"  # these workflows are drawn, not run: the name is enough
        empty.touch()
        stand_ins = dict.fromkeys(NOT_SHIPPED, empty)
        with comfyui_server.server(Path(folder) / "comfyui", comfyui, stand_ins) as address:
            for make in WORKFLOWS:
                workflow = make()
                if not names or workflow.name in names:
                    models = {node.inputs.get("model_name") for node in workflow.nodes}
                    runs = bool(models & {TINY, TINY_INPAINT})
                    draw(address, workflow, runs)


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
        editor.picture(path)
        wrong = editor.unknown() + editor.problems
    if wrong:
        raise SystemExit(f"{name}: {wrong}")
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; at most {LARGEST} are wanted.")
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
