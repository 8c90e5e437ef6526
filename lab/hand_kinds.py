"""The node classes of hands, as ComfyUI's canvas knows them."""

from .core_kinds import Kind

HAND_KINDS = {
    "MannequinHandPose": Kind(
        {
            "width": "INT",
            "height": "INT",
            "size": "INT",
            "padding": "FLOAT",
            "confidence": "FLOAT",
            "keypoints": "POSE_KEYPOINT",
            "keypoint_json": "STRING",
            "image": "IMAGE",
        },
        {"hands": "MANNEQUIN_HANDS", "pose_maps": "IMAGE", "crops": "IMAGE", "drawing": "IMAGE"},
        {},
        (320, 330),
    ),
    "MannequinHandStage": Kind(
        {
            "hands": "MANNEQUIN_HANDS",
            "hand_model": "COMBO",
            "seed": "INT",
            "steps": "INT",
            "guidance": "FLOAT",
            "skin": "STRING",
            "vae": "VAE",
        },
        {"images": "IMAGE", "masks": "MASK", "latents": "LATENT"},
        {"seed": "fixed"},
        (340, 230),
    ),
    "MannequinOutpaintBlender": Kind(
        {
            "model": "MODEL",
            "hands": "MANNEQUIN_HANDS",
            "images": "IMAGE",
            "masks": "MASK",
            "grow": "FLOAT",
            "curve": "COMBO",
            "stop_percent": "FLOAT",
            "border": "FLOAT",
            "canvas": "IMAGE",
            "pose_branch": "COMBO",
            "pose_strength": "FLOAT",
        },
        {"model": "MODEL", "image": "IMAGE", "mask": "MASK", "filmstrip": "IMAGE"},
        {},
        (340, 270),
    ),
    "MannequinHandRepair": Kind(
        {
            "image": "IMAGE",
            "hands": "MANNEQUIN_HANDS",
            "hand_model": "COMBO",
            "seed": "INT",
            "steps": "INT",
            "guidance": "FLOAT",
            "reach": "FLOAT",
            "feather": "INT",
            "mask": "MASK",
        },
        {"image": "IMAGE", "mask": "MASK", "close_ups": "IMAGE"},
        {"seed": "fixed"},
        (340, 260),
    ),
}
