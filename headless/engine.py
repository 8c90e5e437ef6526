"""Runs a checked workflow: each needed node once, in order, and not again while nothing changed."""

import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .progress import NodeRef, Progress, reporting
from .registry import Registry
from .schema import Hidden, HiddenHolder, NodeOutput, Schema
from .validate import upstream
from .workflow import Prompt, is_link, node_ref

_unlike_any = itertools.count()


class NodeError(RuntimeError):
    """A node failed while running; `node` says which, the cause is what it raised."""

    def __init__(self, node: NodeRef, cause: Exception):
        self.node = node
        super().__init__(f"{node}: {cause or type(cause).__name__}")


@dataclass
class Run:
    """What a run left: by node id the outputs, the pictures' entries, and the seconds taken."""

    outputs: dict[str, tuple] = field(default_factory=dict)
    images: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)


class Engine:
    """Executes workflows and remembers the nodes of the last one.

    A node is taken from memory while its class, its values, everything before it and its
    fingerprint (for pictures: path, time and size of the file) are the same. Output nodes always
    run. An interrupt or an error keeps what was finished until then.
    """

    def __init__(self, registry: Registry):
        self.registry = registry
        self._remembered: dict[str, tuple] = {}

    def run(
        self, prompt: Prompt, progress: Progress | None = None, pnginfo: dict | None = None
    ) -> Run:
        """Run what the output nodes need, each node after those that it depends on.

        prompt: as `validate.check` returned it without problems (no cycles). pnginfo: goes into
        saved PNGs beside the prompt. Raises NodeError from what a node raised.
        """
        progress = progress or Progress()
        schemas = {
            key: self.registry[node["class_type"]].GET_SCHEMA() for key, node in prompt.items()
        }
        order = [
            (node_ref(prompt, key), schemas[key])
            for key in execution_order(prompt, [k for k, s in schemas.items() if s.is_output_node])
        ]
        keys: dict[str, str] = {}
        for node, schema in order:
            with _naming(node):
                keys[node.id] = self._key(node.id, prompt[node.id], schema, keys)
        # A node that will run may refill what it once shared with others (a flow): those that
        # do not belong to this run must not be taken for unchanged in a later one.
        self._remembered = {k: v for k, v in self._remembered.items() if k in keys.values()}
        run = Run()
        for index, (node, schema) in enumerate(order):
            progress.node_started(node, index, len(order))
            start = time.perf_counter()
            key = keys[node.id]
            cached = key in self._remembered and not schema.is_output_node
            if not cached:
                values = _values(prompt[node.id], schema, run.outputs)
                hidden = _hidden(schema, node.id, prompt, pnginfo)
                with _naming(node), reporting(progress, node):
                    result = self._execute(node.class_type, values, hidden)
                self._remembered[key] = result.args
                run.images[node.id] = _images(result)
            run.outputs[node.id] = self._remembered[key]
            run.timings[node.id] = time.perf_counter() - start
            progress.node_finished(node, run.timings[node.id], cached)
        return run

    def _execute(self, class_type: str, values: dict, hidden: HiddenHolder) -> NodeOutput:
        """Run one node in a class of its own, so that nothing it sets on `cls` stays."""
        import torch

        node_class = self.registry[class_type]
        single_use = type(node_class.__name__, (node_class,), {"hidden": hidden})
        with torch.inference_mode():
            result = single_use.execute(**values)
        if isinstance(result, NodeOutput):
            return result
        return NodeOutput(*(result or ()))

    def _key(self, node_id: str, node: dict, schema: Schema, keys: dict[str, str]) -> str:
        """What a node's outputs depend on, as one hash."""
        inputs = {spec.id: node["inputs"].get(spec.id) for spec in schema.inputs}
        wired = {name: [keys[v[0]], v[1]] for name, v in inputs.items() if is_link(v)}
        constants = {
            name: value
            for name, value in inputs.items()
            if name in node["inputs"] and name not in wired
        }
        fingerprint = None
        if hasattr(self.registry[node["class_type"]], "fingerprint_inputs"):
            known = {**constants, **dict.fromkeys(wired)}
            fingerprint = self.registry[node["class_type"]].fingerprint_inputs(**known)
        if fingerprint != fingerprint:  # NaN: never the same again
            fingerprint = f"run {next(_unlike_any)}"
        alone = node_id if schema.not_idempotent or Hidden.unique_id in schema.hidden else None
        parts = [node["class_type"], alone, constants, wired, repr(fingerprint)]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def execution_order(prompt: Prompt, outputs: list[str]) -> list[str]:
    """The nodes that the outputs need, each after those that it depends on.

    Depth first, so that one output is on disk before work for the next begins.
    """
    order: dict[str, None] = {}
    waiting = outputs[::-1]
    while waiting:
        before = [key for key in upstream(prompt, waiting[-1]) if key not in order]
        if before:
            waiting += before[::-1]
        else:
            order[waiting.pop()] = None
    return list(order)


@contextmanager
def _naming(node: NodeRef) -> Iterator[None]:
    """Errors inside name the node; an interrupt passes untouched."""
    try:
        yield
    except Exception as error:
        raise NodeError(node, error) from error


def _values(node: dict, schema: Schema, outputs: dict[str, tuple]) -> dict[str, Any]:
    """The inputs that the node declares and the workflow gives, wires resolved."""
    given = {
        spec.id: node["inputs"][spec.id] for spec in schema.inputs if spec.id in node["inputs"]
    }
    return {
        name: outputs[value[0]][value[1]] if is_link(value) else value
        for name, value in given.items()
    }


def _hidden(schema: Schema, key: str, prompt: Prompt, pnginfo: dict | None) -> HiddenHolder:
    known = {
        Hidden.unique_id: key,
        Hidden.prompt: prompt,
        Hidden.dynprompt: prompt,
        Hidden.extra_pnginfo: pnginfo,
    }
    return HiddenHolder(**{hidden.name: known[hidden] for hidden in schema.hidden})


def _images(result: NodeOutput) -> list[dict[str, str]]:
    """The entries of the pictures that the node wrote."""
    ui = result.ui if isinstance(result.ui, dict | None) else result.ui.as_dict()
    return list((ui or {}).get("images", []))
