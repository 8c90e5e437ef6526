"""Exact correspondence between pictures, and joints in pixels."""

import numpy as np

from .render import Scene, Surface


def positions(surface: Surface, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Where each pixel's point lies on posed `vertices` [V, 3]: [h, w, 3], NaN without one."""
    out = np.full((*surface.triangle.shape, 3), np.nan)
    seen = surface.triangle >= 0
    corners = vertices[faces[surface.triangle[seen]]]
    out[seen] = np.einsum("nk,nkj->nj", surface.bary[seen], corners)
    return out


def flow_between(
    target: Surface, source: Surface, source_scene: Scene
) -> tuple[np.ndarray, np.ndarray]:
    """Flow [h, w, 2] in -1..1 (edges of the source picture) and visibility bool [h, w].

    `target` may have any resolution; `source` has that of the source's camera.

    NaN where the target shows background, or a shell that the source person does not wear.  A
    point is visible where the source picture's own surface, within one pixel of it, is no
    further from it than a few pixels' size.
    """
    scene, camera = source_scene, source_scene.camera
    faces = scene.body.faces
    worn = np.zeros(len(faces), bool)
    worn[scene.person.present] = True
    seen = (target.triangle >= 0) & worn[target.triangle]
    corners = scene.vertices[faces[target.triangle[seen]]]
    points = np.einsum("nk,nkj->nj", target.bary[seen], corners)
    pixel = camera.project(points)
    size = np.array([camera.width, camera.height])
    flow = np.full((*target.triangle.shape, 2), np.nan, np.float32)
    flow[seen] = 2 * pixel / size - 1

    around = positions(source, scene.vertices, faces)
    column, row = np.floor(pixel).astype(int).T
    inside = (column >= 0) & (column < size[0]) & (row >= 0) & (row < size[1])
    nearest = np.full(len(points), np.inf)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            there = around[
                np.clip(row + down, 0, size[1] - 1), np.clip(column + right, 0, size[0] - 1)
            ]
            nearest = np.fmin(
                nearest, np.sqrt(np.einsum("ij,ij->i", there - points, there - points))
            )
    visible = np.zeros(target.triangle.shape, bool)
    visible[seen] = inside & (nearest < 2.2 * camera.span / camera.height)
    return flow, visible


def hand_points(scene: Scene) -> list[np.ndarray]:
    """Posed joints of the left and the right hand, [21, 3] each: wrist, then thumb to little
    finger, each from knuckle to tip."""
    body, hands = scene.body, []
    for side, tips in zip("LR", body.finger_tips, strict=True):
        points = [scene.joints[body.bone(f"wrist.{side}")]]
        for k, tip in enumerate(tips, 1):
            points += [scene.joints[body.bone(f"finger{k}-{j}.{side}")] for j in (1, 2, 3)]
            points.append(scene.vertices[tip])
        hands.append(np.stack(points))
    return hands


def joints_in_picture(
    scene: Scene,
    surface: Surface,
    window: tuple[float, float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """COCO-18 joints f32 [18, 3] and hands f32 [2, 21, 3], left then right: x, y in pixels of the
    picture, and 1 where the joint is in it and nothing else stands before it."""
    body = scene.body
    coco = body.coco @ scene.vertices[: body.vertex_count]
    around = positions(surface, scene.vertices, body.faces)
    return (
        _seen(scene, coco, 0.13, around, window),
        np.stack([_seen(scene, hand, 0.03, around, window) for hand in hand_points(scene)]),
    )


def _seen(
    scene: Scene,
    points: np.ndarray,
    reach: float,
    around: np.ndarray,
    window: tuple[float, float, float, float],
) -> np.ndarray:
    height, width = around.shape[:2]
    left, top, right, bottom = window
    pixel = (scene.camera.project(points) - [left, top]) * [
        width / (right - left),
        height / (bottom - top),
    ]
    column, row = np.floor(pixel).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = around[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    near = np.linalg.norm(there - points, axis=1) < reach
    return np.concatenate([pixel, (inside & near)[:, None]], 1).astype(np.float32)
