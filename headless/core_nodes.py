"""The core nodes that our workflows use, under ComfyUI's names and with its inputs and outputs."""

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from . import folders, pictures
from .sampling_nodes import SAMPLING_NODES
from .schema import (
    Boolean,
    Combo,
    ComfyNode,
    Image,
    Int,
    Latent,
    Mask,
    NodeOutput,
    Schema,
    String,
    UploadType,
    Vae,
)
from .text_nodes import TEXT_NODES

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")


def _image_input() -> Any:
    here = Path(folders.get_input_directory())
    found = here.iterdir() if here.is_dir() else []
    names = sorted(entry.name for entry in found if entry.suffix.lower() in PICTURES)
    return Combo.Input("image", options=names, upload=UploadType.image)


class _ReadsPicture(ComfyNode):
    """Shared by the loaders: the file must exist, and running again asks whether it changed."""

    @classmethod
    def validate_inputs(cls, image: Any) -> bool | str:
        if isinstance(image, str) and folders.exists_annotated_filepath(image):
            return True
        return (
            f"expected a picture file; came {image!r}, which is neither in "
            f"{folders.get_input_directory()} nor under {Path.cwd()}. "
            'Give a path with --set "TITLE.image=PATH".'
        )

    @classmethod
    def fingerprint_inputs(cls, image: str, **unused: Any) -> str:
        path = Path(folders.get_annotated_filepath(image))
        stat = path.stat()
        return f"{path} {stat.st_mtime_ns} {stat.st_size}"


class LoadImage(_ReadsPicture):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[_image_input()],
            outputs=[Image.Output(display_name="IMAGE"), Mask.Output(display_name="MASK")],
        )

    @classmethod
    def execute(cls, image: str) -> NodeOutput:
        return NodeOutput(*pictures.read_picture(folders.get_annotated_filepath(image)))


class LoadImageMask(_ReadsPicture):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="LoadImageMask",
            display_name="Load Image (as Mask)",
            category="mask",
            inputs=[
                _image_input(),
                Combo.Input("channel", options=["alpha", "red", "green", "blue"]),
            ],
            outputs=[Mask.Output(display_name="MASK")],
        )

    @classmethod
    def execute(cls, image: str, channel: str) -> NodeOutput:
        return NodeOutput(pictures.read_channel(folders.get_annotated_filepath(image), channel))


class SaveImage(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="SaveImage",
            display_name="Save Image",
            category="image",
            inputs=[
                Image.Input("images"),
                String.Input("filename_prefix", default="ComfyUI"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> NodeOutput:
        saved = pictures.save_pictures(images, filename_prefix, "output", cls.hidden)
        return NodeOutput(ui={"images": saved})


class PreviewImage(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="PreviewImage",
            display_name="Preview Image",
            category="image",
            inputs=[Image.Input("images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor) -> NodeOutput:
        saved = pictures.save_pictures(images, "preview", "temp", cls.hidden, compress_level=1)
        return NodeOutput(ui={"images": saved})


class ImageCompositeMasked(ComfyNode):
    """Pastes source over destination; where the mask is 0 the destination is bit-identical."""

    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="ImageCompositeMasked",
            display_name="ImageCompositeMasked",
            category="image",
            inputs=[
                Image.Input("destination"),
                Image.Input("source"),
                Int.Input("x", default=0, min=0, max=16384),
                Int.Input("y", default=0, min=0, max=16384),
                Boolean.Input("resize_source", default=False),
                Mask.Input("mask", optional=True),
            ],
            outputs=[Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(
        cls,
        destination: Tensor,
        source: Tensor,
        x: int,
        y: int,
        resize_source: bool,
        mask: Tensor | None = None,
    ) -> NodeOutput:
        out = destination.clone()
        source = _batch_of(source.movedim(-1, 1), len(out))
        if resize_source:
            source = F.interpolate(source, out.shape[1:3], mode="bilinear")
        mask = source.new_ones(1, 1, 1) if mask is None else mask
        mask = F.interpolate(mask.unsqueeze(1), source.shape[-2:], mode="bilinear")
        place = out[:, y : y + source.shape[-2], x : x + source.shape[-1]]
        height, width = place.shape[1:3]
        source = source[..., :height, :width].movedim(1, -1)
        mask = _batch_of(mask, len(out))[..., :height, :width].movedim(1, -1)
        place.copy_(mask * source + (1 - mask) * place)
        return NodeOutput(out)


class InvertMask(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="InvertMask",
            display_name="InvertMask",
            category="mask",
            inputs=[Mask.Input("mask")],
            outputs=[Mask.Output(display_name="MASK")],
        )

    @classmethod
    def execute(cls, mask: Tensor) -> NodeOutput:
        return NodeOutput(1.0 - mask)


def _batch_of(x: Tensor, count: int) -> Tensor:
    """x repeated from its start until it has `count` entries, as ComfyUI does."""
    return x.repeat(-(-count // len(x)), *[1] * (x.ndim - 1))[:count]


class VAEEncode(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="VAEEncode",
            display_name="VAE Encode",
            category="latent",
            inputs=[Image.Input("pixels"), Vae.Input("vae")],
            outputs=[Latent.Output(display_name="LATENT")],
        )

    @classmethod
    def execute(cls, pixels: Tensor, vae: Any) -> NodeOutput:
        return NodeOutput({"samples": vae.encode(pixels[..., :3])})


class VAEDecode(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="VAEDecode",
            display_name="VAE Decode",
            category="latent",
            inputs=[Latent.Input("samples"), Vae.Input("vae")],
            outputs=[Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(cls, samples: dict, vae: Any) -> NodeOutput:
        return NodeOutput(vae.decode(samples["samples"]))


CORE_NODES = [
    LoadImage,
    LoadImageMask,
    SaveImage,
    PreviewImage,
    ImageCompositeMasked,
    InvertMask,
    VAEEncode,
    VAEDecode,
    *SAMPLING_NODES,
    *TEXT_NODES,
]
