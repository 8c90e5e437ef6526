"""Close-ups of face and hands with the same truth as the whole picture."""

from dataclasses import dataclass

import numpy as np

from .render import Scene, Window, take_picture
from .truth import hand_points, joints_in_picture

KINDS = ("face", "left hand", "right hand")
SIZE = 64
_FACE_METRES, _HAND_MARGIN, _HAND_METRES = 0.30, 1.35, 0.13


@dataclass(frozen=True)
class Crops:
    """Crops [pictures, 3 kinds, ...] in the order of KINDS; joints are in pixels of the crop."""

    image: np.ndarray  # u8 [n, 3, 64, 64, 3]
    dense_pose: np.ndarray  # u8 [n, 3, 64, 64, 3]
    label: np.ndarray  # u8 [n, 3, 64, 64]
    keypoints: np.ndarray  # f32 [n, 3, 18, 3]
    hands: np.ndarray  # f32 [n, 3, 2, 21, 3]
    window: np.ndarray  # f32 [n, 3, 4] left, top, right, bottom in pixels of the picture


def _square(points: np.ndarray, side: float) -> Window:
    middle = (points.min(0) + points.max(0)) / 2
    return (*(middle - side / 2), *(middle + side / 2))


def windows(scene: Scene) -> tuple[Window, ...]:
    """Squares around face, left hand and right hand, in pixels; they may leave the picture."""
    body, camera = scene.body, scene.camera
    pixels_per_metre = camera.height / camera.span
    head = scene.vertices[: body.vertex_count][body.on_head & (body.template[:, 2] > 0.66)]
    out = [_square(camera.project(head), _FACE_METRES * pixels_per_metre)]
    for points in hand_points(scene):
        pixel = camera.project(points)
        side = max(_HAND_MARGIN * np.ptp(pixel, 0).max(), _HAND_METRES * pixels_per_metre)
        out.append(_square(pixel, side))
    return tuple(out)


def take_crops(scenes: list[Scene]) -> Crops:
    """Renders the crops of scenes that were built with cull_to_frame=False."""
    shots, joints, places = [], [], []
    for scene in scenes:
        for window in windows(scene):
            shots.append(take_picture(scene, window, SIZE, SIZE))
            joints.append(joints_in_picture(scene, shots[-1].surface, window))
            places.append(window)

    def gather(parts: list[np.ndarray]) -> np.ndarray:
        return np.stack(parts).reshape(len(scenes), len(KINDS), *np.shape(parts[0]))

    return Crops(
        image=gather([s.image for s in shots]),
        dense_pose=gather([s.dense_pose for s in shots]),
        label=gather([s.label for s in shots]),
        keypoints=gather([j[0] for j in joints]),
        hands=gather([j[1] for j in joints]),
        window=gather([np.array(w, np.float32) for w in places]),
    )
