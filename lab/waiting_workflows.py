"""Workflows that are described and tested, and written when the weights that they name ship."""

from .face_workflows import FACE_WORKFLOWS
from .hand_try_on_workflow import try_on_hands
from .hand_workflows import HAND_WORKFLOWS
from .inpaint_workflows import INPAINT_WORKFLOWS
from .moa_controlnet_workflow import moa_with_controlnet
from .moa_swap_workflow import swap_subject
from .moa_workflows import MOA_WORKFLOWS
from .pose_workflows import POSE_WORKFLOWS

WAITING = (
    *INPAINT_WORKFLOWS,
    *FACE_WORKFLOWS,
    *MOA_WORKFLOWS,
    swap_subject,
    moa_with_controlnet,
    *POSE_WORKFLOWS,
    *HAND_WORKFLOWS,
    try_on_hands,
)
