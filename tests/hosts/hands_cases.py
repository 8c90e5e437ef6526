"""What `test_comfy_hands.py` gives to both hosts; imports PyTorch alone."""

import json

import torch

SIZE = (64, 48)
HANDS, BRANCH = "random-hands.safetensors", "random-branch.safetensors"
GROWTH = {"grow": 8.0, "curve": "smooth", "stop_percent": 0.7, "border": 2.0}


def _hand(x: float, y: float, side: str) -> dict:
    points = [[x, y]] + [
        [x + (finger - 2) * 1.5 * joint, y - 3 - 3 * joint]
        for finger in range(5)
        for joint in range(1, 5)
    ]
    return {"side": side, "points": points}


KEYPOINTS = json.dumps({"hands": [_hand(14, 36, "left"), _hand(34, 58, "right")]})


def close_ups() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [2, 64, 64, 3] and masks [2, 64, 64] that a trained stage one could have made."""
    masks = torch.zeros(2, 64, 64)
    masks[:, 10:54, 10:54] = 1
    g = torch.Generator().manual_seed(4)
    return torch.rand(2, 64, 64, 3, generator=g) * 0.3 + 0.5, masks
