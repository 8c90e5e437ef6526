"""Masks that follow from labels and dense pose."""

import numpy as np
from scipy.ndimage import binary_dilation

from .body import HAND_L, TORSO, UPPER_ARM_L
from .paint import BOTTOM, FACE, HAIR, LEFT_HAND, RIGHT_HAND, SHOES, SKIN, TOP

MASKS = {
    "person": tuple(range(1, 9)),
    "top": (TOP,),
    "bottom": (BOTTOM,),
    "shoes": (SHOES,),
    "face": (FACE,),
    "hair": (HAIR,),
    "hands": (LEFT_HAND, RIGHT_HAND),
}


def mask(label: np.ndarray, name: str) -> np.ndarray:
    """One of MASKS as bool, in the shape of `label`."""
    if name not in MASKS:
        raise ValueError(f"no mask named {name!r}; there are {', '.join(MASKS)}")
    return np.isin(label, MASKS[name])


def repaint_area(label: np.ndarray, dense_pose: np.ndarray, margin: int = 4) -> np.ndarray:
    """Where another top may end up, bool [H, W]: the worn top, bare arms and chest, and `margin`
    pixels around them; hands, face and hair stay out."""
    part = dense_pose[..., 0] // 10
    arms = (part >= UPPER_ARM_L) & (part < HAND_L)
    bare = (label == SKIN) & (arms | (part == TORSO))
    area = binary_dilation((label == TOP) | bare, iterations=margin)
    hands = binary_dilation(mask(label, "hands"), iterations=1)
    return area & ~hands & ~mask(label, "face") & ~mask(label, "hair")
