"""Cloth and hair as geometry: the rest body pushed out into a dressed one, and shells."""

from dataclasses import dataclass

import numpy as np

from .body import HAND_R, UPPER_ARM_L, Body
from .face_paint import beard_thickness
from .identity import Identity
from .shape import rest_shape, vertex_normals
from .shells import SHELL_ACROSS, SHELL_DOWN
from .wardrobe import Outfit, Top


@dataclass(frozen=True)
class Person:
    """A dressed person at rest: vertices [V, 3], bone heads [bones, 3], triangles that exist."""

    identity: Identity
    outfit: Outfit
    vertices: np.ndarray
    heads: np.ndarray
    present: np.ndarray  # indices into body.faces


def neck_opening(top: Top, points: np.ndarray) -> np.ndarray:
    """True where a template point [n, 3] of the trunk lies inside the neck hole."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    centre = 0.605
    depth = np.where(y > -0.02, np.minimum(top.neck_depth, 0.045), top.neck_depth)
    across, down = x / top.neck_width, (centre - z) / depth
    if top.neck == "v":
        inside = across < 1 - down
    elif top.neck == "square":
        inside = (across < 1) & (down < 1)
    else:
        inside = across**2 + np.maximum(down, 0) ** 2 < 1
    return (inside & (z < centre)) | (z >= centre)


def _cloth_offsets(body: Body, outfit: Outfit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which vertices [NB] the top and the bottom cover, and how far cloth stands off."""
    top, bottom = outfit.top, outfit.bottom
    z = body.template[:, 2]
    arm = (body.vertex_part >= UPPER_ARM_L) & (body.vertex_part <= HAND_R)
    in_top = np.where(
        arm,
        body.along_arm < top.sleeve_end,
        (z > top.hem) & ~neck_opening(top, body.template) & ~body.on_head,
    )
    in_bottom = ~arm & (z <= top.hem) & (z > bottom.end) & ~body.on_head
    hang = np.clip((0.42 - z) / (0.42 - top.hem), 0, 1)
    shoulder = np.clip((z - 0.40) / 0.12, 0, 1)
    trunk = top.looseness * (1 - 0.6 * shoulder) + top.flare * hang
    reach = np.clip(body.along_arm / top.sleeve_end, 0, 1)
    sleeve = top.looseness * (0.35 + 0.4 * reach) + 0.5 * top.flare * reach
    below_hem = np.clip((top.hem - z) / 0.05, 0, 1)
    leg = np.where(
        in_bottom, np.minimum(bottom.looseness * (0.4 + 0.8 * np.clip(-z, 0, 1)), 0.02), 0
    )
    beyond = np.clip((body.along_arm - top.sleeve_end) / 0.12, 0, 1)
    off = np.where(arm, sleeve * (1 - beyond), np.where(in_top, trunk, 0))
    off = np.where(~arm & (z <= top.hem), trunk * (1 - below_hem) + leg * below_hem, off)
    return in_top, in_bottom, off


def _smooth(body: Body, vertices: np.ndarray, where: np.ndarray, rounds: int) -> np.ndarray:
    """Flattens the surface [NB, 3] there."""
    out, mean = vertices.copy(), body.smoothing[np.flatnonzero(where)]
    for _ in range(rounds):
        out[where] = mean @ out
    return out


def _scalp(body: Body, who: Identity) -> np.ndarray:
    """Thickness of short hair over the scalp, [NB] in metres."""
    if who.hair_style in ("bald", "cropped"):
        return np.zeros(body.vertex_count)
    u, v = body.vertex_face_uv.T
    forehead = (who.hairline - u) / 30
    sides = np.minimum((np.abs(v - 527) - 150) / 30, (895 - u) / 30)
    lumps = 1 + 0.22 * np.sin(v * 0.05 + who.hair_seed) * np.sin(u * 0.06 + who.hair_seed * 2)
    return (
        np.where(body.on_head, np.clip(np.maximum(forehead, sides), 0, 1) ** 0.7 * lumps, 0)
        * who.hair_volume
    )


def _skirt(body: Body, vertices: np.ndarray, heads: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Rings of the skirt, [SHELL_DOWN * SHELL_ACROSS, 3]: never narrower than what is above."""
    waist = vertices[
        np.abs(body.template[:, 2] - min(outfit.top.hem + 0.02, 0.13)) < 0.012, 2
    ].mean()
    ankle = heads[body.bone("foot.L")][2]
    legs = heads[body.bone("root")][2] - ankle
    trunk = vertices[(body.vertex_part < UPPER_ARM_L)]
    turn = np.linspace(-np.pi, np.pi, SHELL_ACROSS, endpoint=False)
    rings, widest = [], np.zeros(3)
    for down in np.linspace(0, 1, SHELL_DOWN):
        z = waist - down * outfit.bottom.length * legs
        band = trunk[np.abs(trunk[:, 2] - z) < 0.03]
        extent = np.array([np.abs(band[:, 0]).max(), band[:, 1].max(), -band[:, 1].min()])
        widest = np.maximum(widest, extent + 0.004 + 0.016 * min(down * 6, 1))
        flare = 1 + (outfit.bottom.flare - 1) * np.clip((down - 0.12) / 0.88, 0, 1)
        wave = flare * (1 + 0.05 * down * (outfit.bottom.flare - 1) / 0.3 * np.cos(turn * 9))
        depth = np.where(np.cos(turn) > 0, widest[2], widest[1])
        rings.append(
            np.stack(
                [
                    widest[0] * np.sin(turn) * wave,
                    -depth * np.cos(turn) * wave,
                    np.full(SHELL_ACROSS, z),
                ],
                -1,
            )
        )
    return np.concatenate(rings)


def _long_hair(body: Body, vertices: np.ndarray, who: Identity) -> np.ndarray:
    """Strands from the crown over back and sides, [SHELL_DOWN * SHELL_ACROSS, 3]."""
    head = vertices[body.on_head & (body.template[:, 2] > 0.70)]
    crown, half = head[:, 2].max(), np.abs(head[:, 0]).max()
    front, back = head[:, 1].min(), head[:, 1].max()
    middle, depth = (front + back) / 2 + 0.012, (back - front) / 2
    turn = np.linspace(np.deg2rad(58), np.deg2rad(302), SHELL_ACROSS)[None]
    down = np.linspace(0, 1, SHELL_DOWN)[:, None]
    ends = (
        1 + 0.05 * np.sin(turn * 9 + who.hair_seed) + 0.04 * np.sin(turn * 23 + 2 * who.hair_seed)
    )
    z = crown - 0.02 - down * (who.hair_length - 0.02) * ends
    cap = np.sqrt(np.clip(1 - np.clip(1 - (crown - z) / 0.11, 0, 1) ** 2, 0, 1))
    reach = cap * (1.0 + 0.02 * np.sin(turn * 7 + who.hair_seed)) + 0.10 * np.clip(down - 0.3, 0, 1)
    return np.stack(
        [
            reach * (half + 0.006) * np.sin(turn),
            middle - reach * (depth + 0.012) * np.cos(turn),
            z + 0 * turn,
        ],
        -1,
    ).reshape(-1, 3)


def dress(body: Body, who: Identity, outfit: Outfit) -> Person:
    """Builds the dressed rest geometry of one person (about 30 ms)."""
    naked, heads = rest_shape(body, who.phenotype, who.details, who.actions)
    bare = body.face_shell == 0
    in_top, in_bottom, off = _cloth_offsets(body, outfit)
    foot = body.template[:, 2] < outfit.boot
    vertices = _smooth(body, naked, in_top, 24)
    vertices = _smooth(body, vertices, in_bottom & (body.template[:, 2] > -0.72), 4)
    vertices = _smooth(body, vertices, foot, 8)
    off = off + _scalp(body, who) + np.where(foot, 0.007, 0)
    if who.look is not None:
        off = off + beard_thickness(body, who.look)
    vertices = vertices + vertex_normals(vertices, body.faces[bare]) * off[:, None]
    present = bare.copy()
    shells = np.zeros((2, SHELL_ACROSS * SHELL_DOWN, 3))
    if outfit.bottom.kind == "skirt":
        shells[0] = _skirt(body, naked, heads, outfit)
        present |= body.face_shell == 1
        hem, waist = shells[0, -1, 2] + 0.03, shells[0, 0, 2] - 0.02
        hidden = (
            (vertices[:, 2] > hem) & (vertices[:, 2] < waist) & (body.vertex_part < UPPER_ARM_L)
        )
        present[bare] &= ~hidden[body.faces[bare]].all(1)
    if who.hair_style in ("bob", "long"):
        shells[1] = _long_hair(body, naked, who)
        present |= body.face_shell == 2
    return Person(
        who,
        outfit,
        np.concatenate([vertices, shells.reshape(-1, 3)]),
        heads,
        np.flatnonzero(present),
    )
