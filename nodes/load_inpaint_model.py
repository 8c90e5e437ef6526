"""Load Inpaint Model: one file, and out come ComfyUI's own MODEL, CLIP and VAE."""

from comfy_api.latest import io

from .. import hosts
from . import model_files
from .schema import CATEGORY, build


class LoadInpaintModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinLoadInpaintModel",
            display_name="Load Inpaint Model",
            category=CATEGORY,
            description="Loads a small inpainting model of people, faces and hands that is told in "
            "words what to paint. Use it with CLIP Text Encode and InpaintModelConditioning, as "
            "any inpainting checkpoint.",
            search_aliases=["inpainting", "text", "checkpoint", "clip", "face", "hand"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_files.names(model_files.INPAINT),
                    tooltip="A .safetensors file from models/mannequin/inpaint or the pack's "
                    "weights/inpaint.",
                )
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="Wants InpaintModelConditioning before the sampler.",
                ),
                io.Clip.Output(
                    display_name="clip",
                    tooltip="Knows some 180 words: colours, hair, faces, hands, clothes. Unknown "
                    "words are named in the log.",
                ),
                io.Vae.Output(display_name="vae", tooltip="The model's own autoencoder."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name):
        return model_files.fingerprint(model_files.INPAINT, model_name)

    @classmethod
    def execute(cls, model_name):
        path = model_files.path(model_files.INPAINT, model_name)
        return io.NodeOutput(*hosts.current().load_inpaint_model(path))
