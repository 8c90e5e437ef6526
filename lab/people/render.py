"""Ray casting: one acceleration structure per picture, shared by the picture and its crops."""

from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from .backdrop import Backdrop, draw_backdrop
from .body import Body
from .camera import Camera
from .dress import Person
from .paint import Hits, paint
from .pose import Angles, skin
from .shape import vertex_normals

Window = tuple[float, float, float, float]
_SAMPLES = 2


@dataclass(frozen=True)
class Scene:
    """A posed person before a camera. `kept` maps the caster's triangles to body.faces."""

    body: Body
    person: Person
    camera: Camera
    backdrop: Backdrop
    vertices: np.ndarray
    joints: np.ndarray
    normals: np.ndarray
    kept: np.ndarray
    caster: object

    def cast(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, Hits]:
        """Rays through pixel coordinates [n]: indices of those that hit, and the hits."""
        toward = self.camera.rays(x, y)
        start = np.tile(self.camera.eye.astype(np.float32), (len(x), 1))
        found = self.caster.run(start, toward, output=1)
        hit = np.flatnonzero(found["primID"] >= 0)
        u, v = found["u"][hit].astype(np.float64), found["v"][hit].astype(np.float64)
        return hit, Hits.at(
            self.body, self.kept[found["primID"][hit]], np.stack([1 - u - v, u, v], 1)
        )


@dataclass(frozen=True)
class Surface:
    """Which surface point each pixel's centre shows; on the background -1 and 0."""

    triangle: np.ndarray  # i64 [h, w], into body.faces
    bary: np.ndarray  # f64 [h, w, 3]


@dataclass(frozen=True)
class Picture:
    """A rendered window with its truth."""

    image: np.ndarray  # u8 [h, w, 3]
    dense_pose: np.ndarray  # u8 [h, w, 3]
    label: np.ndarray  # u8 [h, w]
    surface: Surface


def build_scene(
    body: Body,
    person: Person,
    angles: Angles,
    camera_of,
    backdrop: Backdrop,
    cull_to_frame: bool = True,
) -> Scene:
    """Poses a person and builds what rays are cast at.

    `camera_of` maps posed joints [bones, 3] to a Camera.  Triangles that face away are left out,
    and with `cull_to_frame` those outside the picture as well.
    """
    vertices, joints = skin(body, person.vertices, person.heads, angles)
    camera = camera_of(joints)
    faces = body.faces[person.present]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    toward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a - camera.eye)
    keep = (toward < 0) | (body.face_shell[person.present] > 0)
    if cull_to_frame:
        x, y = camera.project(vertices).T
        for outside in (x < 0, x > camera.width, y < 0, y > camera.height):
            keep &= ~(outside[faces[:, 0]] & outside[faces[:, 1]] & outside[faces[:, 2]])
    kept = person.present[keep]
    caster = rtcore_scene.EmbreeScene()
    TriangleMesh(caster, vertices[body.faces[kept]].astype(np.float32))
    return Scene(
        body,
        person,
        camera,
        backdrop,
        vertices,
        joints,
        vertex_normals(vertices, body.faces[person.present]),
        kept,
        caster,
    )


def _light(scene: Scene, hits: Hits, toward: np.ndarray) -> np.ndarray:
    """Brightness [n, 1]: main light, fill from the other side, ambient, and folds in the cloth."""
    corners = scene.body.faces[hits.triangle]
    normal = np.einsum("nk,nkj->nj", hits.bary, scene.normals[corners])
    folds = scene.person.outfit.top.folds
    on_top = (hits.part <= 11) & (hits.place[:, 2] > scene.person.outfit.top.hem)
    if folds > 0:
        place = hits.place[on_top]
        wave = (
            np.cos(place @ [38.0, 20, 26] + 1)
            + np.cos(place @ [-30.0, 14, 34] + 2.3)
            + 0.7 * np.cos(place @ [12.0, 30, -62])
        )
        normal[on_top] += folds * 0.5 * wave[:, None] * [0.6, 0, 0.8]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    away = np.einsum("ij,ij->i", normal, toward) > 0
    normal[away] *= -1
    main = scene.backdrop.light
    fill = np.array([-main[0], main[1], 0.2])
    return (0.40 + 0.50 * np.clip(normal @ main, 0, 1) + 0.12 * np.clip(normal @ fill, 0, 1))[
        :, None
    ]


def _grid(window: Window, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    left, top, right, bottom = window
    x = left + (np.arange(width) + 0.5) / width * (right - left)
    y = top + (np.arange(height) + 0.5) / height * (bottom - top)
    xs, ys = np.meshgrid(x, y)
    return xs.ravel(), ys.ravel()


def _surface(hit: np.ndarray, hits: Hits, height: int, width: int) -> Surface:
    triangle = np.full(height * width, -1, np.int64)
    triangle[hit] = hits.triangle
    bary = np.zeros((height * width, 3))
    bary[hit] = hits.bary
    return Surface(triangle.reshape(height, width), bary.reshape(height, width, 3))


def see_surface(scene: Scene, window: Window, height: int, width: int) -> Surface:
    """The surface points at the centres of a `height` x `width` grid laid over a window."""
    return _surface(*scene.cast(*_grid(window, height, width)), height, width)


def take_picture(scene: Scene, window: Window, height: int, width: int) -> Picture:
    """Renders a window of the camera's picture (left, top, right, bottom in its pixels).

    Colour is the mean of 2 x 2 samples per pixel; everything else is exact at the pixel's centre.
    """
    camera = scene.camera
    x, y = _grid(window, height * _SAMPLES, width * _SAMPLES)
    hit, hits = scene.cast(x, y)
    colours = draw_backdrop(scene.backdrop, x / camera.width, y / camera.height)
    albedo, _ = paint(scene.body, scene.person, hits)
    colours[hit] = np.clip(albedo * _light(scene, hits, camera.rays(x[hit], y[hit])), 0, 1)
    image = colours.reshape(height, _SAMPLES, width, _SAMPLES, 3).mean((1, 3))

    x, y = _grid(window, height, width)
    hit, hits = scene.cast(x, y)
    label = np.zeros(height * width, np.uint8)
    label[hit] = paint(scene.body, scene.person, hits)[1]
    dense_pose = np.zeros((height * width, 3), np.uint8)
    dense_pose[hit, 0] = hits.part * 10
    dense_pose[hit, 1:] = np.clip(np.rint(hits.chart * 255), 0, 255)
    return Picture(
        (image * 255 + 0.5).astype(np.uint8),
        dense_pose.reshape(height, width, 3),
        label.reshape(height, width),
        _surface(hit, hits, height, width),
    )
