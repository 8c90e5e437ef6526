"""Face Encoder: who the person is, from a few pictures."""

from comfy_api.latest import io

from ..hosts import face_references, faces
from . import model_files
from .schema import CATEGORY, FaceEmbedding, build


class FaceEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinFaceEncoder",
            display_name="Face Encoder",
            category=CATEGORY,
            description="Finds the face in 1 to 16 pictures of one person and describes who it is. "
            "The face model that ships knows rendered people only.",
            search_aliases=["face embedding", "identity", "face id", "ip-adapter face", "pva"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="One person, 1 to 16 pictures of at least 32x32 pixels, from different "
                    "sides. Pictures of several sizes: chain Face Encoders with more.",
                ),
                io.Combo.Input(
                    "face_model",
                    options=model_files.names(model_files.FACES),
                    tooltip="A .safetensors file from models/mannequin/faces or the pack's "
                    "weights/faces.",
                ),
                io.Combo.Input(
                    "find_face",
                    options=[face_references.FIND, face_references.WHOLE],
                    default=face_references.FIND,
                    tooltip="find: looks for the one face of each picture (rendered people only). "
                    "whole picture: each picture is a close-up of the head already, hair to neck.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For adapters that read CLIP's picture tokens, such as IP-Adapter's "
                    "plus-face files: describes the found faces instead of the face model.",
                ),
                FaceEmbedding.Input(
                    "more",
                    optional=True,
                    tooltip="Another Face Encoder's output: its pictures come first, these after "
                    "them. They may differ in size.",
                ),
            ],
            outputs=[
                FaceEmbedding.Output(
                    display_name="faces", tooltip="Who it is, for the nodes of the face family."
                ),
                io.Image.Output(
                    display_name="crops", tooltip="What was looked at; check that it is the face."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="What is odd about the references; connect it to Preview as Text.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, face_model, **inputs):
        return model_files.fingerprint(model_files.FACES, face_model)

    @classmethod
    def execute(cls, image, face_model, find_face, clip_vision=None, more=None):
        model = faces.load_face_model(model_files.path(model_files.FACES, face_model))
        made, report = face_references.encode(model, image, find_face, clip_vision, more)
        return io.NodeOutput(made, made.pictures, report)
