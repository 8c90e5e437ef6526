"""A pinhole camera that looks along +y at a person facing -y."""

from dataclasses import dataclass

import numpy as np

from .body import Body

DISTANCE = 5.0


@dataclass(frozen=True)
class Camera:
    """`span` is the picture's height in metres at the plane y = 0; `height`, `width` are pixels."""

    x: float
    z: float
    span: float
    height: int
    width: int

    @property
    def eye(self) -> np.ndarray:
        return np.array([self.x, -DISTANCE, self.z])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates x, y [n, 2] of points [n, 3]; the first pixel's centre is at .5, .5."""
        scale = DISTANCE / (points[:, 1] + DISTANCE) * self.height / self.span
        return np.stack(
            [
                (points[:, 0] - self.x) * scale + self.width / 2,
                (self.z - points[:, 2]) * scale + self.height / 2,
            ],
            1,
        )

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Unit directions float32 [n, 3] through pixel coordinates x, y [n]."""
        metre = self.span / self.height
        toward = np.stack(
            [
                (x - self.width / 2) * metre,
                np.full(x.shape, DISTANCE),
                (self.height / 2 - y) * metre,
            ],
            1,
        )
        return (toward / np.linalg.norm(toward, axis=1, keepdims=True)).astype(np.float32)


def frame_person(
    body: Body,
    joints: np.ndarray,
    frame: str,
    shift: np.ndarray,
    zoom: float,
    height: int,
    width: int,
) -> Camera:
    """Aims at posed joints [bones, 3]: "upper" is head to thigh, "full" the whole body."""
    root, head, chest = (joints[body.bone(b)] for b in ("root", "head", "spine02"))
    if frame == "upper":
        trunk = head[2] - root[2]
        x, z, span = 0.5 * (chest[0] + head[0]), root[2] + 0.52 * trunk, 1.08 * trunk / 0.62
    else:
        ankle = min(joints[body.bone("foot.L")][2], joints[body.bone("foot.R")][2])
        tall = head[2] - ankle
        x, z, span = root[0], ankle + 0.535 * tall, 1.27 * tall
    span *= zoom * max(1.0, 0.75 * height / width)
    return Camera(x + shift[0] * span, z + shift[1] * span, span, height, width)
