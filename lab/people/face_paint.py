"""What a look paints on a head: beard, glasses, moles, freckles, lines of age, teeth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .body import ATLAS, Body
from .looks import FRAMES, Look

if TYPE_CHECKING:
    from .paint import Hits

_MIDDLE = 527
_LENS = {"round glasses": (0.0235, 0.0235), "square glasses": (0.027, 0.018)}
_LENS["sunglasses"] = (0.027, 0.022)


def beard_cover(beard: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How much of the skin [n] at atlas pixels u, v a beard covers, 0..1."""
    across = np.abs(v - _MIDDLE)
    lips = ((u - 930) / 11) ** 2 + (across / 27) ** 2 < 1
    moustache = (u > 911) & (u < 931) & (across < 34 - 0.5 * (925 - u))
    chin = (u > 936) & (u < 992) & (across < 26)
    line = 938 - 55 * np.clip((across - 36) / 105, 0, 1)
    jaw = (u > line) & (u < 1010) & (across < 172)
    area = {
        "no beard": np.zeros(u.shape, bool),
        "stubble": jaw | moustache,
        "moustache": moustache,
        "goatee": chin
        | (moustache & (across < 30))
        | ((across < 34) & (across > 25) & (u > 918) & (u < 945)),
        "full beard": jaw | moustache,
    }[beard]
    return np.where(area & ~lips, 0.42 if beard == "stubble" else 1.0, 0.0)


def beard_thickness(body: Body, look: Look) -> np.ndarray:
    """How far the beard stands off the skin, [NB] in metres."""
    u, v = body.vertex_face_uv.T
    if look.beard not in ("goatee", "full beard"):
        return np.zeros(body.vertex_count)
    below = np.clip((u - 932) / 25, 0, 1) * np.clip((1015 - u) / 30, 0, 1)
    cover = beard_cover(look.beard, u, v)
    return np.where(body.on_head, cover * below, 0) * look.beard_volume


def paint_look(body: Body, look: Look, hits: Hits, colour: np.ndarray) -> None:
    """Paints over `colour` [n, 3] of a head that paint() has painted."""
    head = body.on_face[hits.triangle]
    u, v = hits.chart[:, 0] * ATLAS, hits.chart[:, 1] * ATLAS
    _age(look, head, u, v, colour)
    for mu, mv, radius in look.marks:
        mole = head & ((u - mu) ** 2 + (v - mv) ** 2 < radius**2)
        colour[mole] *= [0.42, 0.34, 0.32]
    if look.freckles:
        spots = np.sin(u * 1.1 + 2 * np.sin(v * 0.7)) * np.sin(v * 1.05 + 2 * np.sin(u * 0.6))
        cheek = head & (u > 868) & (u < 908) & (np.abs(v - _MIDDLE) < 85) & (spots > 0.45)
        colour[cheek] *= 1 - look.freckles * np.array([0.3, 0.42, 0.46])
    cover = np.where(head, beard_cover(look.beard, u, v), 0)
    hair = cover > 0
    strand = 1 + 0.16 * np.sin(v[hair] * 0.8 + 2 * np.sin(u[hair] * 0.3))
    tone = look.beard_colour * strand[:, None]
    colour[hair] += cover[hair, None] * (tone - colour[hair])
    _teeth(body, hits, colour)
    if look.glasses != "no glasses":
        _glasses(body, look, hits, head, colour)


def _age(look: Look, head: np.ndarray, u: np.ndarray, v: np.ndarray, colour: np.ndarray) -> None:
    across = np.abs(v - _MIDDLE)
    forehead = (np.abs((u - 812) % 9 - 4.5) < 1.3) & (u > 806) & (u < 828) & (across < 55)
    fold = (np.abs(across - (22 + 0.55 * (u - 905))) < 2.2) & (u > 903) & (u < 940)
    corner = (
        (across > 74) & (across < 92) & (np.abs((u - 853) % 7 - 3.5) < 1.1) & (np.abs(u - 860) < 11)
    )
    lines = head & (forehead | fold | corner)
    colour[lines] *= 1 - 0.3 * look.wrinkles


def _teeth(body: Body, hits: Hits, colour: np.ndarray) -> None:
    inside = body.in_mouth[hits.triangle]
    u, v = hits.chart[inside, 0] * ATLAS, hits.chart[inside, 1] * ATLAS
    tongue = (v < 90) & (u > 620) & (u < 680)
    colour[inside] = np.where(tongue[:, None], (0.62, 0.24, 0.24), (0.92, 0.90, 0.85))


def _glasses(body: Body, look: Look, hits: Hits, head: np.ndarray, colour: np.ndarray) -> None:
    x, y, z = np.abs(hits.place[:, 0]), hits.place[:, 1], hits.place[:, 2]
    half_width, half_height = _LENS[look.glasses]
    w = look.frame_width
    across, up = x - body.eye[0] - 0.002, z - body.eye[2]
    front = (head | body.on_eye[hits.triangle]) & (y < -0.07)
    if look.glasses == "round glasses":
        off = np.hypot(across, up) - half_width
    else:
        off = np.maximum(np.abs(across) - half_width, np.abs(up) - half_height)
    lens = front & (off < 0)
    if look.glasses == "sunglasses":
        colour[lens] = 0.06 + 0.05 * np.clip(up[lens, None] / half_height, -1, 1)
        rim = np.full(3, 0.04)
    else:
        colour[lens] = 0.86 * colour[lens] + 0.14 * np.array([0.85, 0.93, 1.0])
        rim = np.array(FRAMES[look.frame])
    frame = front & (np.abs(off) < w)
    frame |= front & (x < body.eye[0] + 0.002 - half_width) & (np.abs(up - 0.006) < w)
    outer = body.eye[0] + 0.002 + half_width
    frame |= head & (x > outer) & (y < 0.0) & (np.abs(up - 0.006 + 0.08 * (y + 0.12)) < w)
    colour[frame] = rim
