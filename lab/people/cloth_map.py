"""Cloth coordinates and patterns: how a flat textile lies on trunk, arms, legs and skirt."""

import numpy as np

from .wardrobe import Cloth

_TRUNK_RADIUS, _ARM_RADIUS, _LEG_RADIUS, _SKIRT_RADIUS = 0.145, 0.05, 0.075, 0.2
_SHOULDER = np.array([0.168, -0.015, 0.525])
_ELBOW = np.array([0.313, -0.013, 0.349])
_ARM_LENGTH = 0.23


def trunk_cloth(points: np.ndarray) -> np.ndarray:
    """Metres around (0 at the front, positive to the person's left) and up, [n, 2]."""
    around = np.arctan2(points[:, 0], -(points[:, 1] - 0.0)) * _TRUNK_RADIUS
    return np.stack([around, points[:, 2]], 1)


def arm_cloth(points: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Metres around and up (shoulder at .45 and down from there), [n, 2]."""
    axis = (_ELBOW - _SHOULDER) / np.linalg.norm(_ELBOW - _SHOULDER)
    outward = np.cross(axis, [0, 1.0, 0])
    local = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], 1) - _SHOULDER
    around = np.arctan2(local @ outward, -local[:, 1]) * _ARM_RADIUS
    return np.stack([around, 0.45 - along * _ARM_LENGTH], 1)


def leg_cloth(points: np.ndarray) -> np.ndarray:
    """Metres around each leg and up, [n, 2]; above the crotch, around the trunk."""
    z = points[:, 2]
    middle = np.interp(-z, [0.05, 0.37, 0.745], [0.10, 0.155, 0.21]) * np.sign(points[:, 0])
    leg = np.arctan2(points[:, 0] - middle, -(points[:, 1] + 0.02)) * _LEG_RADIUS
    return np.stack([np.where(z > -0.06, trunk_cloth(points)[:, 0], leg), z], 1)


def skirt_cloth(chart: np.ndarray, length: float) -> np.ndarray:
    """Metres around (0 at the front) and up, [n, 2], from the skirt's chart 0..1."""
    return np.stack(
        [(chart[:, 0] - 0.5) * 2 * np.pi * _SKIRT_RADIUS, 0.1 - chart[:, 1] * length], 1
    )


def dye(cloth: Cloth, at: np.ndarray) -> np.ndarray:
    """Colours [n, 3] of a cloth at cloth coordinates [n, 2] in metres."""
    u, v = at[:, 0] / cloth.period, at[:, 1] / cloth.period + cloth.phase
    if cloth.pattern == "horizontal stripes":
        second = v % 1 < 0.45
    elif cloth.pattern == "vertical stripes":
        second = (u + 0.25) % 1 < 0.5
    elif cloth.pattern == "diagonal stripes":
        second = (u + v) % 1 < 0.45
    elif cloth.pattern == "checks":
        second = (u % 1 < 0.5) ^ (v % 1 < 0.5)
    elif cloth.pattern == "dots":
        second = ((u + 0.5 * (np.floor(v) % 2)) % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.085
    elif cloth.pattern == "zigzag":
        second = (v + 0.5 * np.abs(2 * (u % 1) - 1)) % 1 < 0.5
    elif cloth.pattern == "blocks":
        second = at[:, 1] < 0.16 + 0.16 * cloth.phase
    else:
        second = np.zeros(len(at), bool)
    return np.where(second[:, None], cloth.second, cloth.colour)
