"""Parallel Visual Attention: a person's identity beside the text, in every cross-attention."""

from comfy_api.latest import io

from .. import hosts
from ..hosts import lending
from ..methods.person_adapter import WORD, resolve_vectors
from ..methods.pva import PVA, layers_named
from .schema import CATEGORY, FaceEmbedding, PersonAdapter, build, span

LAYERS = ("all", "coarse", "fine")


class ParallelVisualAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinParallelVisualAttention",
            display_name="Parallel Visual Attention",
            category=CATEGORY,
            description="Lets every cross-attention look at a person beside the text (PVA, arXiv "
            "2312.03556): faces are painted as that person's.",
            search_aliases=["pva", "face id", "identity", "ip-adapter", "personalised inpainting"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that the adapter was trained for: Load Inpaint Model, or an "
                    "SD1.5, SD2 or SDXL checkpoint. Other patches stay in place.",
                ),
                PersonAdapter.Input(
                    "adapter", tooltip="From Load Person Adapter or Personalize Face."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    tooltip="How much the person counts against the text. 1 is PVA; 0 is as if the "
                    "node were not there.",
                ),
                *span("the person is seen"),
                build(
                    io.Combo.Input,
                    "layers",
                    options=list(LAYERS),
                    default=LAYERS[0],
                    advanced=True,
                    tooltip="Where the person is seen: in all layers, in the coarse half (shape) "
                    "or in the fine half (skin and detail).",
                ),
                build(
                    io.Boolean.Input,
                    "in_negative",
                    default=False,
                    advanced=True,
                    tooltip="The negative prompt's branch sees the person too, so that guidance "
                    "strengthens the words alone. For editing: expression, beard, glasses, hair.",
                ),
                FaceEmbedding.Input(
                    "faces",
                    optional=True,
                    tooltip="From Face Encoder: who it is. A personal adapter knows already; faces "
                    "given take the place of its own.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip=f"The model's CLIP, which then understands the word {WORD} of the "
                    "adapter: photo of a <new1> person. Connect the output to CLIP Text Encode.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Clip.Output(
                    display_name="clip", tooltip="The CLIP given, with the adapter's word."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        adapter,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
        layers=LAYERS[0],
        in_negative=False,
        faces=None,
        clip=None,
    ):
        host = hosts.host_of(model)
        branch = adapter.branch(lending.layers(host, model))
        if layers != LAYERS[0]:
            branch = layers_named(branch, coarse=layers == LAYERS[1])
        tokens = adapter.tokens(resolve_vectors(adapter, faces))
        method = PVA(branch, tokens, strength, start_percent, end_percent, in_negative)
        if clip is not None and adapter.word is not None and strength > 0:
            clip = host.with_words(clip, {WORD: adapter.word.float()})
        return io.NodeOutput(host.patch(model, method), clip)
