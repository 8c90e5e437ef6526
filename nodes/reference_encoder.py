"""Reference Encoder: the pictures that the generator may look at."""

import torch
from comfy_api.latest import io

from .. import hosts
from ..methods.framing import fit_picture
from ..methods.leffa import Reference
from ..methods.person import check_dense_pose, encode_dense_pose
from .schema import CATEGORY, build
from .schema import Reference as ReferenceWire

MODEL_SIZE = (128, 96)
FINEST = 8


class ReferenceEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinReferenceEncoder",
            display_name="Reference Encoder",
            category=CATEGORY,
            description="Encodes one or several pictures for the reference network. Pictures of "
            "any size are fitted into the model's frame, never cropped or stretched.",
            search_aliases=["leffa reference", "garment", "source person"],
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Person Model."),
                io.Vae.Input("vae", tooltip="The VAE of Load Person Model."),
                io.Image.Input(
                    "image",
                    tooltip="The person or the garment to take the texture from. A batch of R "
                    "pictures makes R references that are looked at together.",
                ),
                io.Image.Input(
                    "dense_pose",
                    optional=True,
                    tooltip="Dense pose (IUV) of each reference, a lossless PNG of the same "
                    "proportions. Without it the model guesses; with it the flow is surer.",
                ),
            ],
            outputs=[ReferenceWire.Output(display_name="reference")],
        )

    @classmethod
    def execute(cls, model, vae, image, dense_pose=None):
        config = hosts.host_of(model).model_config(model)
        size = config.get("size", MODEL_SIZE)
        image = image[..., :3]
        zoom = min(max(n / m for n, m in zip(image.shape[1:3], size, strict=True)), FINEST)
        fine = (round(n * max(zoom, 1)) for n in size)
        latents = vae.encode(fit_picture(image, *size)) * config["latent_scale"]
        channels = config["unet_encoder"]["in_channels"] - config["latent_channels"]
        pose = torch.zeros(len(image), channels, *latents.shape[-2:])
        if dense_pose is not None and channels:
            dense_pose = dense_pose[..., :3]
            check_dense_pose(dense_pose)
            if len(dense_pose) != len(image):
                raise ValueError(
                    f"Expected a dense pose for each of {len(image)} reference picture(s); got "
                    f"{len(dense_pose)}. Batch as many dense poses as pictures, or connect none."
                )
            pose = encode_dense_pose(fit_picture(dense_pose, *size, exact=True), pose.shape[-2:])
        return io.NodeOutput(Reference(fit_picture(image, *fine), latents[None], pose[None]))
