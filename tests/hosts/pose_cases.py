"""What `test_comfy_poses.py` gives to both hosts; imports PyTorch alone."""

import torch

H, W = 128, 96
ALIGNER, POSE_MODEL = "random-aligner.safetensors", "random-pose.safetensors"
ALIGNED = {
    "aligner": ALIGNER,
    "iterations": 2,
    "strength": 1.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "reference_run": "every step",
    "record_flow": True,
}
LOOKED = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "record_flow": False}
GUIDED = {
    "pose_model": POSE_MODEL,
    "person": 1,
    "scale": 1.0,
    "field_weight": 0.01,
    "keypoint_weight": 1.0,
    "start_percent": 0.0,
    "end_percent": 0.7,
}
CHECKED = {"person": 1, "threshold": 0.05, "confidence": 0.0, "pose_model": POSE_MODEL}


def dense_pose(left: int) -> torch.Tensor:
    """[1, H, W, 3]: one part, smooth coordinates, from the column `left` on."""
    iuv = torch.zeros(1, H, W, 3)
    y, x = slice(24, 104), slice(left, left + 48)
    iuv[:, y, x, 0] = 10 / 255
    iuv[:, y, x, 1] = torch.linspace(0.1, 0.9, 80)[:, None].mul(255).round() / 255
    iuv[:, y, x, 2] = torch.linspace(0.1, 0.9, 48)[None].mul(255).round() / 255
    return iuv


def picture() -> torch.Tensor:
    small = torch.rand(1, 3, 8, 6, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(small, (H, W), mode="bilinear").movedim(1, -1)


def target(x: float = 48.0) -> list[dict]:
    """POSE_KEYPOINT of somebody upright whose neck is at that column; the left wrist is not known
    and the ankles are below the picture.
    """
    places = [
        *((0, 20), (0, 36), (-14, 38), (-20, 56), (-22, 76), (14, 38), (20, 56), (0, 0)),
        *((-8, 80), (-8, 110), (-8, 140), (8, 80), (8, 110), (8, 140)),
        *((-2, 18), (2, 18), (-5, 19), (5, 19)),
    ]
    flat = [n for a, b in places for n in (x + a, b, float(b > 0))]
    people = [{"pose_keypoints_2d": flat}]
    return [{"people": people, "canvas_width": W, "canvas_height": H}]
