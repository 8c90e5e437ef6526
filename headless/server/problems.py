"""What the server finds wrong with a workflow or raises while it runs, in the words of our own."""

import json
from typing import Any

from ..engine import NodeError
from ..progress import NodeRef
from ..workflow import Problem, Prompt, node_ref, problem
from . import RemoteError

CHANGE = "Change the value."


def refused(prompt: Prompt, answer: dict) -> list[Problem]:
    """Every problem in the JSON that the server gave instead of queueing the workflow."""
    found = [
        _problem(node, error)
        for key, failed in (answer.get("node_errors") or {}).items()
        for node in [_node(prompt, key, failed.get("class_type"))]
        for error in failed.get("errors") or [{}]
    ]
    if found:
        return found
    error = answer.get("error")
    text = _sentence(error) if isinstance(error, dict) else str(error or answer)
    return [problem("the workflow", "one that the server accepts", text, "Repair it.")]


def _problem(node: NodeRef, error: dict) -> Problem:
    extra = error.get("extra_info") or {}
    name = extra.get("input_name")
    where = f'{node}, input "{name}"' if name else str(node)
    came = json.dumps(extra.get("received_value"), default=repr)
    options = _config(extra)
    kind = error.get("type")
    if kind == "required_input_missing":
        found = problem(where, "a value or a wire", "nothing", "Add it to the workflow.")
    elif kind == "value_smaller_than_min":
        found = problem(where, f"a number of at least {options.get('min')}", came, CHANGE)
    elif kind == "value_bigger_than_max":
        found = problem(where, f"a number of at most {options.get('max')}", came, CHANGE)
    elif kind == "custom_validation_failed":
        said = str(error.get("details", "")).removeprefix(str(name)).removeprefix(" - ")
        todo = "Change the value; a picture must be here or in the server's input folder."
        found = problem(where, "what the node accepts", said or "something else", todo)
    elif kind == "value_not_in_list":
        todo = "Choose one of the list, or install what is missing on the server."
        found = problem(where, "a value of the server's list", error.get("details", came), todo)
    else:
        found = Problem(where, f"the server says: {_sentence(error)}")
    return Problem(found.where, found.text, node.id)


def _config(extra: dict) -> dict:
    config = extra.get("input_config")
    both = isinstance(config, list) and len(config) > 1 and isinstance(config[1], dict)
    return config[1] if both else {}


def _sentence(error: dict) -> str:
    parts = [str(error.get(key, "")).strip() for key in ("message", "details")]
    return ": ".join(part for part in parts if part) or json.dumps(error)


def failure(prompt: Prompt, data: dict[str, Any]) -> NodeError:
    """The error that an `execution_error` message tells of, naming the node."""
    kind = str(data.get("exception_type") or "error").rpartition(".")[2]
    trace = "".join(map(str, data.get("traceback") or []))
    cause = RemoteError(str(data.get("exception_message") or "").strip(), kind, trace)
    error = NodeError(_node(prompt, str(data.get("node_id")), data.get("node_type")), cause)
    error.__cause__ = cause
    return error


def _node(prompt: Prompt, key: str, class_type: Any) -> NodeRef:
    """The node, or the one that it was made from while running (ids like `5.0.2`)."""
    for known in (key, key.partition(".")[0]):
        if known in prompt:
            return node_ref(prompt, known)
    return NodeRef(key, str(class_type), str(class_type))
