"""Subject: who stands behind a word of the prompt."""

from comfy_api.latest import io

from ..hosts import subjects as people
from .schema import CATEGORY, FaceEmbedding, Subjects, build


class Subject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinSubject",
            display_name="Subject",
            category=CATEGORY,
            description="Says which person a word of the prompt means, for MoA Router. One node "
            "for each person; chain them.",
            search_aliases=["moa", "multiple people", "several characters", "identity", "morph"],
            inputs=[
                io.String.Input(
                    "word",
                    default="woman",
                    tooltip="The word of the prompt that means this person: woman, or a few words "
                    "in a row. Two people of one word: the first and the second time it is said.",
                ),
                FaceEmbedding.Input("faces", tooltip="From Face Encoder: who it is."),
                build(
                    io.Float.Input,
                    "morph",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="With morph_into: 0 is the person of faces, 1 the other, between them "
                    "somebody who looks like both.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where the person is to be painted. Without one a trained router "
                    "puts people side by side, as the prompt names them; from masks or attention, "
                    "the attention to the word finds the place.",
                ),
                FaceEmbedding.Input(
                    "morph_into",
                    optional=True,
                    tooltip="Another person, from a Face Encoder with the same face model.",
                ),
                Subjects.Input(
                    "others",
                    optional=True,
                    tooltip="Another Subject's output: its people come first, this one after them.",
                ),
            ],
            outputs=[
                Subjects.Output(
                    display_name="subjects", tooltip="Everybody so far, for MoA Router."
                )
            ],
        )

    @classmethod
    def execute(cls, word, faces, morph, mask=None, morph_into=None, others=()):
        if morph_into is not None:
            faces = people.morph(faces, morph_into, morph)
        return io.NodeOutput(people.subject(word, faces, mask, others))
