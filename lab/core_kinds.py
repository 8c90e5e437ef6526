"""ComfyUI's own node classes that our workflows use, as its canvas knows them."""

from dataclasses import dataclass, field
from typing import Any

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@dataclass(frozen=True)
class Kind:
    """A node class: inputs and outputs in order, name to type; the values that front-end widgets
    without an input add, by the widget they follow; width and height as front end 1.42 draws it.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (260, 120)


LIVE = 220  # what the live preview adds below a node's widgets while it samples
PICTURE, RESULT = (300, 330), (320, 380)

CORE = {
    "LoadImage": Kind(
        {"image": "COMBO"}, {"IMAGE": "IMAGE", "MASK": "MASK"}, {"image": "image"}, PICTURE
    ),
    "LoadImageMask": Kind(
        {"image": "COMBO", "channel": "COMBO"}, {"MASK": "MASK"}, {"channel": "image"}, PICTURE
    ),
    "CheckpointLoaderSimple": Kind(
        {"ckpt_name": "COMBO"}, {"MODEL": "MODEL", "CLIP": "CLIP", "VAE": "VAE"}, {}, (340, 98)
    ),
    "CLIPTextEncode": Kind(
        {"clip": "CLIP", "text": "STRING"}, {"CONDITIONING": "CONDITIONING"}, {}, (320, 130)
    ),
    "EmptyLatentImage": Kind(
        {"width": "INT", "height": "INT", "batch_size": "INT"}, {"LATENT": "LATENT"}, {}, (320, 106)
    ),
    "KSampler": Kind(
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "seed": "INT",
            "steps": "INT",
            "cfg": "FLOAT",
            "sampler_name": "COMBO",
            "scheduler": "COMBO",
            "denoise": "FLOAT",
        },
        {"LATENT": "LATENT"},
        {"seed": "fixed"},
        (280, 264 + LIVE),
    ),
    "KSamplerSelect": Kind({"sampler_name": "COMBO"}, {"SAMPLER": "SAMPLER"}, {}, (260, 58)),
    "SplitSigmas": Kind(
        {"sigmas": "SIGMAS", "step": "INT"},
        {"high_sigmas": "SIGMAS", "low_sigmas": "SIGMAS"},
        {},
        (260, 82),
    ),
    "FlipSigmas": Kind({"sigmas": "SIGMAS"}, {"SIGMAS": "SIGMAS"}, {}, (260, 58)),
    "SamplerCustom": Kind(
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "sampler": "SAMPLER",
            "sigmas": "SIGMAS",
            "latent_image": "LATENT",
            "add_noise": "BOOLEAN",
            "noise_seed": "INT",
            "cfg": "FLOAT",
        },
        {"output": "LATENT", "denoised_output": "LATENT"},
        {"noise_seed": "fixed"},
        (300, 242 + LIVE),
    ),
    "InpaintModelConditioning": Kind(
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "vae": "VAE",
            "pixels": "IMAGE",
            "mask": "MASK",
            "noise_mask": "BOOLEAN",
        },
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "latent": "LATENT"},
        {},
        (280, 138),
    ),
    "VAEDecode": Kind({"samples": "LATENT", "vae": "VAE"}, {"IMAGE": "IMAGE"}, {}, (160, 46)),
    "ImageCompositeMasked": Kind(
        {
            "destination": "IMAGE",
            "source": "IMAGE",
            "mask": "MASK",
            "x": "INT",
            "y": "INT",
            "resize_source": "BOOLEAN",
        },
        {"IMAGE": "IMAGE"},
        {},
        (280, 146),
    ),
    "Canny": Kind(
        {"image": "IMAGE", "low_threshold": "FLOAT", "high_threshold": "FLOAT"},
        {"IMAGE": "IMAGE"},
        {},
        (260, 82),
    ),
    "CLIPVisionLoader": Kind({"clip_name": "COMBO"}, {"CLIP_VISION": "CLIP_VISION"}, {}, (340, 58)),
    "ControlNetLoader": Kind(
        {"control_net_name": "COMBO"}, {"CONTROL_NET": "CONTROL_NET"}, {}, (340, 58)
    ),
    "ControlNetApplyAdvanced": Kind(
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "control_net": "CONTROL_NET",
            "image": "IMAGE",
            "vae": "VAE",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
        },
        {"positive": "CONDITIONING", "negative": "CONDITIONING"},
        {},
        (280, 186),
    ),
    "InvertMask": Kind({"mask": "MASK"}, {"MASK": "MASK"}, {}, (200, 30)),
    "PreviewImage": Kind({"images": "IMAGE"}, {}, {}, RESULT),
    "SaveImage": Kind({"images": "IMAGE", "filename_prefix": "STRING"}, {}, {}, RESULT),
}
