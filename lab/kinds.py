"""The node classes of our workflows, as ComfyUI's canvas knows them."""

from .core_kinds import CORE, LIVE, RESULT, WIDGETS, Kind
from .hand_kinds import HAND_KINDS

__all__ = ["KINDS", "OURS", "WIDGETS"]

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
    "MannequinPoseKeypoints": Kind(
        {"keypoint_json": "STRING", "width": "INT", "height": "INT"},
        {"keypoints": "POSE_KEYPOINT", "drawing": "IMAGE"},
        {},
        (300, 240),
    ),
    "MannequinRecurrentPoseAligner": Kind(
        {
            "model": "MODEL",
            "reference": "MANNEQUIN_REFERENCE",
            "positive": "CONDITIONING",
            "aligner": "COMBO",
            "iterations": "INT",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
            "reference_run": "COMBO",
            "record_flow": "BOOLEAN",
        },
        {"model": "MODEL", "alignment": "MANNEQUIN_ALIGNMENT", "flow": "MANNEQUIN_FLOW"},
        {},
        (340, 242 + LIVE),
    ),
    "MannequinAlignmentPreview": Kind(
        {"alignment": "MANNEQUIN_ALIGNMENT", "image": "IMAGE", "reference": "MANNEQUIN_REFERENCE"},
        {"image": "IMAGE"},
        {},
        RESULT,
    ),
    "MannequinPoseGuidance": Kind(
        {
            "model": "MODEL",
            "pose_model": "COMBO",
            "target": "POSE_KEYPOINT",
            "person": "INT",
            "scale": "FLOAT",
            "field_weight": "FLOAT",
            "keypoint_weight": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
        },
        {"model": "MODEL", "guidance": "MANNEQUIN_GUIDANCE"},
        {},
        (340, 222 + LIVE),
    ),
    "MannequinGuidancePreview": Kind(
        {"guidance": "MANNEQUIN_GUIDANCE", "image": "IMAGE"},
        {"image": "IMAGE", "report": "STRING"},
        {},
        RESULT,
    ),
    "MannequinPoseCheck": Kind(
        {
            "image": "IMAGE",
            "target": "POSE_KEYPOINT",
            "person": "INT",
            "threshold": "FLOAT",
            "confidence": "FLOAT",
            "measured": "POSE_KEYPOINT",
            "pose_model": "COMBO",
            "vae": "VAE",
        },
        {"overlay": "IMAGE", "pck": "FLOAT", "error": "FLOAT", "table": "STRING"},
        {},
        (320, 440),
    ),
    **HAND_KINDS,
}

KINDS = {**CORE, **OURS}
