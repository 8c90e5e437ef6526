"""Load Person Model: one file, and out come ComfyUI's own MODEL and VAE."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .. import hosts
from .schema import CATEGORY, build

FOLDER = "mannequin"
SHIPPED = Path(__file__).resolve().parents[1] / "weights"


def register_model_folders() -> None:
    """Person models lie in models/mannequin, wherever extra_model_paths.yaml says for `mannequin`
    (these folders come first), and, the one that ships, in the pack's weights/.

    A published .pth is listed too, so that loading it can say how to convert it.
    """
    for path in (Path(folder_paths.models_dir) / FOLDER, SHIPPED):
        folder_paths.add_model_folder_path(FOLDER, str(path))
    _, extensions = folder_paths.folder_names_and_paths[FOLDER]
    extensions.update({".safetensors", ".pth"})


register_model_folders()


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
                    options=folder_paths.get_filename_list(FOLDER),
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
        stat = Path(folder_paths.get_full_path_or_raise(FOLDER, model_name)).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, model_name):
        path = Path(folder_paths.get_full_path_or_raise(FOLDER, model_name))
        return io.NodeOutput(*hosts.current().load_person_model(path))
