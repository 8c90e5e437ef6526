"""Load Person Adapter: a branch for any person, one person's own, or IP-Adapter's."""

from comfy_api.latest import io

from ..hosts.adapters import read_adapter
from . import model_files
from .schema import CATEGORY, PersonAdapter, build


class LoadPersonAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinLoadPersonAdapter",
            display_name="Load Person Adapter",
            category=CATEGORY,
            description="Loads what Parallel Visual Attention needs beside the model: "
            "one for any person, a person's own from Save Person Adapter, or an "
            "IP-Adapter plus file as a starting point.",
            search_aliases=["pva", "ip-adapter", "face adapter", "identity"],
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=model_files.names(model_files.ADAPTERS),
                    tooltip="A .safetensors file from models/mannequin/adapters or the pack's "
                    "weights/adapters.",
                )
            ],
            outputs=[
                PersonAdapter.Output(display_name="adapter"),
                io.String.Output(
                    display_name="about",
                    tooltip="What the file says: base, person, consent, how it was made. Connect "
                    "it to Preview as Text.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, adapter_name):
        return model_files.fingerprint(model_files.ADAPTERS, adapter_name)

    @classmethod
    def execute(cls, adapter_name):
        adapter = read_adapter(model_files.path(model_files.ADAPTERS, adapter_name))
        return io.NodeOutput(adapter, adapter.about())
