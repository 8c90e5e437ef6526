"""Poses: joint angles drawn within limits, forward kinematics and linear blend skinning."""

import numpy as np

from .body import Body

_AXES = {"x": np.array([1.0, 0, 0]), "y": np.array([0, 1.0, 0]), "z": np.array([0, 0, 1.0])}
Angles = dict[str, list[tuple[str, float]]]


def sample_pose(rng: np.random.Generator, max_yaw: float = 40.0) -> Angles:
    """Draws joint angles: bone name -> list of (axis, degrees), applied in that order.

    Axes x, y, z are those of the rest body; "elbow", "fore", "curl", "thumb" and "spread" follow
    the arm or the fingers of that side.
    """
    angles: Angles = {}
    for side, sign in (("L", 1), ("R", -1)):
        angles.update(_arm(rng, side, sign))
        angles.update(_hand(rng, side))
        forward = np.clip(rng.normal(0, 12), -25, 35)
        angles[f"upperleg01.{side}"] = [("y", sign * rng.uniform(-1, 10)), ("x", -forward)]
        angles[f"lowerleg01.{side}"] = [("x", np.clip(rng.normal(4, 12), 0, 45))]
    yaw = np.clip(rng.normal(0, max_yaw * 0.55), -max_yaw, max_yaw)
    angles["root"] = [("z", yaw), ("x", rng.normal(0, 3)), ("y", rng.normal(0, 2.5))]
    for bone in ("spine04", "spine03", "spine02"):
        angles[bone] = [
            ("z", np.clip(rng.normal(0, 4), -9, 9)),
            ("x", np.clip(rng.normal(0, 2.5), -5, 6)),
            ("y", np.clip(rng.normal(0, 3), -7, 7)),
        ]
    turn = np.clip(rng.normal(-yaw * 0.3, 11), -28, 28)
    nod, tilt = np.clip(rng.normal(0, 6), -12, 12), np.clip(rng.normal(0, 4), -9, 9)
    for bone in ("neck01", "neck03", "head"):
        angles[bone] = [("z", turn / 3), ("x", nod / 3), ("y", tilt / 3)]
    return angles


def _arm(rng: np.random.Generator, side: str, sign: int) -> Angles:
    """One arm: hanging, bent before the body, held out, or raised; elbows bend one way only."""
    kind = rng.choice(4, p=(0.34, 0.34, 0.2, 0.12))
    down, forward, bend = (
        (rng.uniform(14, 34), rng.uniform(-12, 8), rng.uniform(-22, 20)),
        (rng.uniform(8, 32), rng.uniform(-28, 2), rng.uniform(45, 92)),
        (rng.uniform(-40, 8), rng.uniform(-25, 10), rng.uniform(-15, 70)),
        (rng.uniform(-95, -45), rng.uniform(-15, 10), rng.uniform(-10, 75)),
    )[kind]
    return {
        f"shoulder01.{side}": [("y", sign * down * 0.2)],
        f"upperarm01.{side}": [("y", sign * down * 0.8), ("x", forward)],
        f"lowerarm01.{side}": [("elbow", bend)],
        f"lowerarm02.{side}": [("fore", rng.uniform(-45, 45))],
        f"wrist.{side}": [
            ("fore", rng.uniform(-20, 20)),
            ("curl", rng.uniform(-20, 25)),
            ("x", rng.uniform(-10, 10)),
        ],
    }


def _hand(rng: np.random.Generator, side: str) -> Angles:
    """Fingers: open, relaxed, fist, or pointing and counting."""
    angles: Angles = {}
    kind = rng.choice(4, p=(0.35, 0.3, 0.2, 0.15))
    base = (rng.uniform(-8, 10), rng.uniform(5, 30), rng.uniform(45, 72), 0)[kind]
    for finger in range(1, 6):
        curl = base + np.clip(rng.normal(0, 7), -14, 14)
        if kind == 3:
            curl = rng.uniform(50, 75) if rng.random() < 0.5 else rng.uniform(-6, 10)
        curl, axis = (curl * 0.35, "thumb") if finger == 1 else (curl, "curl")
        for joint, share in ((1, 0.8), (2, 1.0), (3, 0.7)):
            angles[f"finger{finger}-{joint}.{side}"] = [(axis, np.clip(curl * share, -10, 75))]
        angles[f"finger{finger}-1.{side}"].append(("spread", np.clip(rng.normal(0, 4), -8, 8)))
    return angles


def _rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rodrigues' formula, [3, 3]."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def _side_axes(body: Body, heads: np.ndarray, side: str) -> dict[str, np.ndarray]:
    def at(name: str) -> np.ndarray:
        return heads[body.bone(f"{name}.{side}")]

    def bend(finger: int) -> np.ndarray:
        first, second, third = (at(f"finger{finger}-{j}") for j in (1, 2, 3))
        return np.cross(second - first, third - second)

    upper, lower = at("lowerarm01") - at("upperarm01"), at("wrist") - at("lowerarm01")
    curl = np.mean([bend(k) * 1e4 for k in (2, 3, 4, 5)], 0)
    return {
        "elbow": np.cross(upper, lower),
        "fore": lower,
        "curl": curl,
        "thumb": bend(1),
        "spread": np.cross(curl, at("finger3-1") - at("wrist")),
    }


def bone_transforms(body: Body, heads: np.ndarray, angles: Angles) -> np.ndarray:
    """Transforms that carry the rest body into the pose, [bones, 4, 4]."""
    axes = {side: {**_AXES, **_side_axes(body, heads, side)} for side in "LR"}
    out = np.zeros((len(body.bones), 4, 4))
    for i, bone in enumerate(body.bones):
        local = np.eye(4)
        for axis, degrees in angles.get(bone, ()):
            local[:3, :3] = (
                _rotation(axes["R" if bone.endswith(".R") else "L"][axis], degrees) @ local[:3, :3]
            )
        local[:3, 3] = heads[i] - local[:3, :3] @ heads[i]
        out[i] = local if body.parents[i] < 0 else out[body.parents[i]] @ local
    return out


def skin(
    body: Body, vertices: np.ndarray, heads: np.ndarray, angles: Angles
) -> tuple[np.ndarray, np.ndarray]:
    """Poses rest vertices [V, 3] (shells included): posed vertices [V, 3], joints [bones, 3]."""
    transforms = bone_transforms(body, heads, angles)
    blended = (body.skin_weights @ transforms[:, :3].reshape(-1, 12)).reshape(-1, 3, 4)
    posed = np.einsum("vij,vj->vi", blended[:, :, :3], vertices) + blended[:, :, 3]
    joints = np.einsum("bij,bj->bi", transforms[:, :3, :3], heads) + transforms[:, :3, 3]
    return posed, joints
