"""Attention Backend: says which attention runs, and why."""

from comfy_api.latest import io

from .. import hosts
from ..hosts import attention
from .schema import CATEGORY, build


class AttentionBackend(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinAttentionBackend",
            display_name="Attention Backend",
            category=CATEGORY,
            description="Says which attention computes each kind of call on this machine, and why "
            "the others do not. Connect the text to Preview as Text.",
            search_aliases=["kernels", "sage attention", "triton", "sdpa", "why slow"],
            inputs=[
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Its device and precision are asked about; without it, this machine's.",
                ),
            ],
            outputs=[io.String.Output(display_name="report")],
        )

    @classmethod
    def execute(cls, model=None):
        hosts.current()  # a host offers its own attention when it is loaded
        return io.NodeOutput(attention.report(model))
