"""The embedded engine: runs workflow files without ComfyUI.

`run_workflow` is all that scripts need; torch is not imported before it runs something.
"""

from .engine import NodeError
from .progress import NodeRef, Progress
from .run import RunResult, run_workflow
from .workflow import WorkflowError

__all__ = ["NodeError", "NodeRef", "Progress", "RunResult", "WorkflowError", "run_workflow"]
