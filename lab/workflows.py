"""Writes the example workflows: `python -m mannequin.lab.workflows`.

Each is written twice from its description: `workflows/X.json` for the canvas and
`workflows/api/X.json` for scripts.
"""

import json
from pathlib import Path

from PIL import Image

from .checkpoint_workflows import CHECKPOINT_WORKFLOWS
from .face_workflows import FACE_WORKFLOWS
from .graph import api, graph
from .hand_try_on_workflow import try_on_hands
from .hand_workflows import HAND_WORKFLOWS
from .inpaint_workflows import INPAINT_WORKFLOWS
from .moa_controlnet_workflow import moa_with_controlnet
from .moa_swap_workflow import swap_subject
from .moa_workflows import MOA_WORKFLOWS
from .person_workflows import PERSON_WORKFLOWS
from .pose_workflows import POSE_WORKFLOWS

ROOT = Path(__file__).resolve().parents[1] / "workflows"
WORKFLOWS = (
    *PERSON_WORKFLOWS,
    *POSE_WORKFLOWS,
    *INPAINT_WORKFLOWS,
    *FACE_WORKFLOWS,
    *MOA_WORKFLOWS,
    swap_subject,
    *HAND_WORKFLOWS,
    try_on_hands,
    *CHECKPOINT_WORKFLOWS,
    moa_with_controlnet,
)


def write(root: Path) -> None:
    """Writes every workflow into root and root/api, and into root/inputs the black picture that
    stands for a dense pose nobody knows.
    """
    for folder in ("api", "inputs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (96, 128)).save(root / "inputs" / "no_dense_pose.png")
    for make in WORKFLOWS:
        workflow = make()
        for path, content in (
            (root / f"{workflow.name}.json", graph(workflow)),
            (root / "api" / f"{workflow.name}.json", api(workflow)),
        ):
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
