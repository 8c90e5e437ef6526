"""Load Person Model: one file, and out come ComfyUI's own MODEL and VAE."""

from comfy_api.latest import io

from .. import hosts
from . import model_files
from .schema import CATEGORY, build


class LoadPersonModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinLoadPersonModel",
            display_name="Load Person Model",
            category=CATEGORY,
            description="Loads a person model: a generator with its reference network (Leffa's "
            "layout) and its autoencoder. mannequin-tiny ships with the pack.",
            search_aliases=["leffa", "pose transfer", "virtual try-on", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_files.names(model_files.PERSON),
                    tooltip="A .safetensors file from models/mannequin or the pack's weights.",
                )
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The generator; its reference network rides along.",
                ),
                io.Vae.Output(display_name="vae", tooltip="The model's own autoencoder."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name):
        return model_files.fingerprint(model_files.PERSON, model_name)

    @classmethod
    def execute(cls, model_name):
        path = model_files.path(model_files.PERSON, model_name)
        return io.NodeOutput(*hosts.current().load_person_model(path))
