"""The node classes of our workflows, as ComfyUI's canvas knows them."""

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
    "SaveImage": Kind({"images": "IMAGE", "filename_prefix": "STRING"}, {}, {}, RESULT),
}

OURS = {
    "MannequinFaceEncoder": Kind(
        {
            "image": "IMAGE",
            "face_model": "COMBO",
            "find_face": "COMBO",
            "clip_vision": "CLIP_VISION",
            "more": "FACE_EMBEDDING",
        },
        {"faces": "FACE_EMBEDDING", "crops": "IMAGE", "report": "STRING"},
        {},
        (340, 150),
    ),
    "MannequinMaskCrop": Kind(
        {"image": "IMAGE", "mask": "MASK", "size": "INT", "padding": "FLOAT"},
        {"image": "IMAGE", "mask": "MASK", "crop": "MANNEQUIN_CROP"},
        {},
        (260, 126),
    ),
    "MannequinPasteCrop": Kind(
        {"crop": "MANNEQUIN_CROP", "painted": "IMAGE", "feather": "INT"},
        {"image": "IMAGE"},
        {},
        (260, 78),
    ),
    "MannequinLoadPersonModel": Kind(
        {"model_name": "COMBO"}, {"model": "MODEL", "vae": "VAE"}, {}, (320, 78)
    ),
    "MannequinLoadInpaintModel": Kind(
        {"model_name": "COMBO"}, {"model": "MODEL", "clip": "CLIP", "vae": "VAE"}, {}, (340, 98)
    ),
    "MannequinReferenceEncoder": Kind(
        {
            "model": "MODEL",
            "vae": "VAE",
            "image": "IMAGE",
            "dense_pose": "IMAGE",
            "more": "MANNEQUIN_REFERENCE",
        },
        {"reference": "MANNEQUIN_REFERENCE"},
        {},
        (260, 106),
    ),
    "MannequinPersonConditioning": Kind(
        {
            "model": "MODEL",
            "vae": "VAE",
            "dense_pose": "IMAGE",
            "person": "IMAGE",
            "garment_mask": "MASK",
            "hand_protect_mask": "MASK",
        },
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent": "LATENT",
            "repainted": "MASK",
        },
        {},
        (260, 126),
    ),
    "MannequinFlowGuidedAttention": Kind(
        {
            "model": "MODEL",
            "reference": "MANNEQUIN_REFERENCE",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "record_flow": "BOOLEAN",
            "reference_run": "COMBO",
        },
        {"model": "MODEL", "flow": "MANNEQUIN_FLOW"},
        {},
        (280, 174 + LIVE),
    ),
    "MannequinGuidanceRescale": Kind(
        {"model": "MODEL", "strength": "FLOAT"}, {"model": "MODEL"}, {}, (260, 58)
    ),
    "MannequinDiffusersScheduler": Kind(
        {"model": "MODEL", "steps": "INT", "denoise": "FLOAT"}, {"sigmas": "SIGMAS"}, {}, (260, 82)
    ),
    "MannequinFlowPreview": Kind(
        {
            "flow": "MANNEQUIN_FLOW",
            "image": "IMAGE",
            "reference": "MANNEQUIN_REFERENCE",
            "mode": "COMBO",
        },
        {"image": "IMAGE"},
        {},
        RESULT,
    ),
    "MannequinFlowDetailTransfer": Kind(
        {
            "image": "IMAGE",
            "flow": "MANNEQUIN_FLOW",
            "reference": "MANNEQUIN_REFERENCE",
            "mask": "MASK",
            "strength": "FLOAT",
            "threshold": "FLOAT",
        },
        {"image": "IMAGE", "mask": "MASK"},
        {},
        (280, 142),
    ),
    "MannequinLoadPersonAdapter": Kind(
        {"adapter_name": "COMBO"}, {"adapter": "PERSON_ADAPTER", "about": "STRING"}, {}, (320, 78)
    ),
    "MannequinParallelVisualAttention": Kind(
        {
            "model": "MODEL",
            "adapter": "PERSON_ADAPTER",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "layers": "COMBO",
            "in_negative": "BOOLEAN",
            "faces": "FACE_EMBEDDING",
            "clip": "CLIP",
        },
        {"model": "MODEL", "clip": "CLIP"},
        {},
        (300, 214),
    ),
    "MannequinPersonalizeFace": Kind(
        {
            "model": "MODEL",
            "clip": "CLIP",
            "vae": "VAE",
            "adapter": "PERSON_ADAPTER",
            "faces": "FACE_EMBEDDING",
            "steps": "INT",
            "learning_rate": "FLOAT",
            "seed": "INT",
        },
        {"adapter": "PERSON_ADAPTER"},
        {"seed": "fixed"},
        (300, 214 + LIVE),
    ),
    "MannequinSubject": Kind(
        {
            "word": "STRING",
            "faces": "FACE_EMBEDDING",
            "morph": "FLOAT",
            "mask": "MASK",
            "morph_into": "FACE_EMBEDDING",
            "others": "MANNEQUIN_SUBJECTS",
        },
        {"subjects": "MANNEQUIN_SUBJECTS"},
        {},
        (280, 170),
    ),
    "MannequinMoARouter": Kind(
        {
            "model": "MODEL",
            "clip": "CLIP",
            "subjects": "MANNEQUIN_SUBJECTS",
            "prompt": "STRING",
            "router": "COMBO",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "layers": "COMBO",
            "temperature": "FLOAT",
            "record_routes": "BOOLEAN",
            "adapter": "PERSON_ADAPTER",
        },
        {"model": "MODEL", "positive": "CONDITIONING", "routes": "MANNEQUIN_ROUTES"},
        {},
        (360, 400 + LIVE),
    ),
    "MannequinRoutePreview": Kind(
        {"routes": "MANNEQUIN_ROUTES", "image": "IMAGE", "mode": "COMBO", "subject": "INT"},
        {"image": "IMAGE", "mask": "MASK"},
        {},
        (320, 420),
    ),
    "MannequinSavePersonAdapter": Kind(
        {"adapter": "PERSON_ADAPTER", "name": "STRING", "consent": "COMBO", "note": "STRING"},
        {"adapter_name": "STRING"},
        {},
        (300, 130),
    ),
}

KINDS = {**CORE, **OURS}
