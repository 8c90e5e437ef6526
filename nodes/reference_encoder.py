"""Reference Encoder: the pictures that the generator may look at."""

from comfy_api.latest import io

from .. import hosts
from ..methods.references import join, reference_of
from .schema import CATEGORY, build, encoder
from .schema import Reference as ReferenceWire

MODEL_SIZE = (128, 96)


class ReferenceEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinReferenceEncoder",
            display_name="Reference Encoder",
            category=CATEGORY,
            description="Encodes one or several pictures for the reference network. Pictures of "
            "any size are fitted into the frame of mannequin-tiny, never stretched; models of any "
            "size take them as they are, up to the size they were trained with.",
            search_aliases=["leffa reference", "garment", "source person"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The MODEL of Load Person Model, or a plain SD1.5 or SDXL checkpoint.",
                ),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Image.Input(
                    "image",
                    tooltip="The person or the garment to take the texture from. A batch of R "
                    "pictures makes R references that are looked at together.",
                ),
                io.Image.Input(
                    "dense_pose",
                    optional=True,
                    tooltip="Dense pose (IUV) of each reference, a lossless PNG of the same "
                    "proportions. Without it, or where it is black, the model guesses.",
                ),
                ReferenceWire.Input(
                    "more",
                    optional=True,
                    tooltip="Another Reference Encoder's output: its pictures come first, these "
                    "after them. They may differ in size.",
                ),
            ],
            outputs=[ReferenceWire.Output(display_name="reference")],
        )

    @classmethod
    def execute(cls, model, vae, image, dense_pose=None, more=None):
        config = hosts.host_of(model).model_config(model)
        size, multiple = config.get("size", MODEL_SIZE), 0
        if config.get("free_size"):
            multiple = config["downscale"]
        if multiple and more is not None:
            size, multiple = [n * multiple for n in more.latents.shape[-2:]], 0
        reference = reference_of(
            image,
            dense_pose,
            tuple(size),
            encoder(vae, config),
            config["latent_scale"],
            config["unet_encoder"]["in_channels"] - config["latent_channels"],
            multiple,
            shown_to_all=config["dense_pose"] is None,
        )
        return io.NodeOutput(reference if more is None else join(more, reference))
