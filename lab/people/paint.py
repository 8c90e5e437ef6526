"""What colour and what label each seen point of a person has."""

from dataclasses import dataclass

import numpy as np

from . import cloth_map, prints
from .body import (
    ATLAS,
    FOOT_L,
    HAND_L,
    HAND_R,
    HEAD,
    LONG_HAIR,
    TORSO,
    UPPER_ARM_L,
    Body,
    along_arm,
)
from .dress import Person, neck_opening
from .face_paint import paint_look
from .identity import Identity
from .wardrobe import Outfit, Top

LABELS = ("background", "skin", "hair", "top", "bottom", "shoes", "face", "left hand", "right hand")
SKIN, HAIR, TOP, BOTTOM, SHOES, FACE, LEFT_HAND, RIGHT_HAND = range(1, 9)
_PRINT_HEIGHT = 0.325
_ARMHOLE = 0.158


@dataclass(frozen=True)
class Hits:
    """Where rays met a person: triangle [n], barycentrics [n, 3], and what follows from them."""

    triangle: np.ndarray
    bary: np.ndarray
    place: np.ndarray  # [n, 3] template coordinates (0 on the shells)
    chart: np.ndarray  # [n, 2] atlas or shell coordinates, 0..1
    part: np.ndarray  # [n] 1..16

    @classmethod
    def at(cls, body: Body, triangle: np.ndarray, bary: np.ndarray) -> "Hits":
        corners = body.faces[triangle]
        shell = body.face_shell[triangle]
        template = body.template[np.where(shell[:, None] == 0, corners, 0)]
        place = np.einsum("nk,nkj->nj", bary, template) * (shell == 0)[:, None]
        chart = np.einsum("nk,nkj->nj", bary, body.face_uv[triangle])
        part = body.face_part[triangle]
        trunk = (
            ((part == HEAD) | (part == TORSO)) & ~body.on_eye[triangle] & ~body.in_mouth[triangle]
        )
        above_neck = place[:, 2] > 0.67 + 0.25 * (place[:, 1] + 0.04)
        return cls(
            triangle,
            bary,
            place,
            chart,
            np.where(trunk, np.where(above_neck, HEAD, TORSO), part).astype(np.uint8),
        )


def paint(body: Body, person: Person, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Colour without light [n, 3] in 0..1 and label [n] of each hit."""
    who, outfit = person.identity, person.outfit
    colour = np.tile(who.skin, (len(hits.triangle), 1))
    label = np.full(len(hits.triangle), SKIN, np.uint8)
    arm = (hits.part >= UPPER_ARM_L) & (hits.part <= HAND_R)
    bare = body.face_shell[hits.triangle] == 0
    inside = body.on_eye[hits.triangle] | body.in_mouth[hits.triangle]
    trunk = bare & ~arm & ~inside & (hits.part != HEAD)
    z, along = hits.place[:, 2], along_arm(hits.place, body.template_heads, body.bones)

    shoulder = bare & (hits.part <= UPPER_ARM_L + 1) & (z > 0.42)
    sleeve = np.where(shoulder, np.abs(hits.place[:, 0]) > _ARMHOLE, arm)

    label[hits.part == HAND_L], label[hits.part == HAND_R] = LEFT_HAND, RIGHT_HAND
    nail = (hits.part == HAND_L) | (hits.part == HAND_R)
    colour[nail] *= [1.0, 0.97, 0.96]
    shoes = trunk & (z < outfit.boot) & (hits.part < FOOT_L + 2)
    colour[shoes], label[shoes] = outfit.shoe, SHOES
    colour[shoes & (z < -0.795)] = np.array(outfit.shoe) * 0.45 + 0.1
    _paint_bottom(outfit, hits, trunk, colour, label)
    top = outfit.top
    cloth = np.where(
        sleeve,
        along < top.sleeve_end,
        (trunk | shoulder) & (z > top.hem) & ~neck_opening(top, hits.place),
    )
    _paint_top(top, hits, cloth, sleeve, along, colour, label)
    _paint_head(body, who, hits, colour, label)
    return np.clip(colour, 0, 1), label


def _paint_bottom(
    outfit: Outfit, hits: Hits, trunk: np.ndarray, colour: np.ndarray, label: np.ndarray
) -> None:
    bottom, z = outfit.bottom, hits.place[:, 2]
    skirt = hits.part == LONG_HAIR - 1
    end = -0.04 if bottom.kind == "skirt" else bottom.end
    legs = trunk & (z <= outfit.top.hem) & (z > max(end, outfit.boot))
    colour[legs] = cloth_map.dye(bottom.cloth, cloth_map.leg_cloth(hits.place[legs]))
    colour[skirt] = cloth_map.dye(
        bottom.cloth, cloth_map.skirt_cloth(hits.chart[skirt], bottom.length * 0.8)
    )
    label[legs | skirt] = BOTTOM


def _paint_top(
    top: Top,
    hits: Hits,
    cloth: np.ndarray,
    arm: np.ndarray,
    along: np.ndarray,
    colour: np.ndarray,
    label: np.ndarray,
) -> None:
    label[cloth] = TOP
    body_part, sleeve = cloth & ~arm, cloth & arm
    flat = cloth_map.trunk_cloth(hits.place)
    colour[body_part] = cloth_map.dye(top.cloth, flat[body_part])
    colour[sleeve] = cloth_map.dye(
        top.cloth, cloth_map.arm_cloth(hits.place[sleeve], along[sleeve])
    )
    if top.sleeve_colour is not None:
        colour[sleeve] = top.sleeve_colour
    if top.print_name is not None:
        ink = prints.alpha(top.print_name)
        row = (_PRINT_HEIGHT + top.print_height / 2 - flat[:, 1]) / top.print_height * ink.shape[0]
        column = flat[:, 0] / top.print_height * ink.shape[0] + ink.shape[1] / 2
        if top.cloth.pattern != "plain":
            margin = 0.12 * ink.shape[0]
            badge = body_part & (np.abs(row - ink.shape[0] / 2) < ink.shape[0] / 2 + margin)
            badge &= np.abs(column - ink.shape[1] / 2) < ink.shape[1] / 2 + margin
            colour[badge] = top.cloth.colour
        on = body_part & (row >= 0) & (row < ink.shape[0]) & (column >= 0) & (column < ink.shape[1])
        cover = ink[row[on].astype(int), column[on].astype(int)][:, None]
        colour[on] = colour[on] * (1 - cover) + np.array(top.print_colour) * cover
    if top.trim:
        edge = (body_part & (hits.place[:, 2] < top.hem + 0.025)) | (
            sleeve & (along > top.sleeve_end - 0.11)
        )
        colour[edge] = top.trim_colour


def _paint_head(
    body: Body, who: Identity, hits: Hits, colour: np.ndarray, label: np.ndarray
) -> None:
    head = body.on_face[hits.triangle]
    u, v = hits.chart[:, 0] * ATLAS, hits.chart[:, 1] * ATLAS
    across = np.abs(v - 527)
    label[head & (hits.part == HEAD)] = FACE
    cheek = head & ((u - 900) ** 2 + (across - 70) ** 2 < 900)
    colour[cheek] *= [1.02, 0.95, 0.94]
    lips = head & (((u - 930) / 15) ** 2 + ((v - 527) / 26) ** 2 < 1)
    colour[lips] = who.lips
    brow = (
        head
        & (np.abs(u - 836 + 0.02 * (across - 40)) < 2.6 * who.brow_width)
        & (across > 18)
        & (across < 60)
    )
    colour[brow] = who.hair * 0.65
    strand = 0.5 * np.sin(v * 0.9 + 2 * np.sin(u * 0.08 + who.hair_seed)) + 0.5 * np.sin(
        v * 0.31 + who.hair_seed
    )
    if who.hair_style != "bald":
        edge = who.hairline + 5 * strand + 6 * np.sin(v * 0.045 + who.hair_seed)
        hair = head & (hits.part == HEAD) & ((u < edge) | ((across > 158 + 4 * strand) & (u < 905)))
        cropped = who.hair_style == "cropped"
        shade = (
            who.hair
            * (0.75 if cropped else 1)
            * (1 + (0.06 if cropped else 0.16) * strand[hair, None])
        )
        colour[hair] = 0.72 * shade + 0.28 * who.skin if cropped else shade
        label[hair] = HAIR
    _paint_eyes(body, who, hits, colour, label)
    mouth = body.in_mouth[hits.triangle]
    colour[mouth], label[mouth] = (0.34, 0.10, 0.10), FACE
    shell = hits.part == LONG_HAIR
    strand = np.sin(hits.chart[shell, 0] * 95 + who.hair_seed) + 0.6 * np.sin(
        hits.chart[shell, 0] * 41 + 5 * hits.chart[shell, 1]
    )
    colour[shell] = who.hair * (1 + 0.11 * strand[:, None])
    label[shell] = HAIR
    if who.look is not None:
        paint_look(body, who.look, hits, colour)


def _paint_eyes(
    body: Body, who: Identity, hits: Hits, colour: np.ndarray, label: np.ndarray
) -> None:
    eye = body.on_eye[hits.triangle]
    place = hits.place[eye]
    off = np.hypot(np.abs(place[:, 0]) - body.eye[0], place[:, 2] - body.eye[2])
    colour[eye] = np.select(
        [off[:, None] < 0.0035, off[:, None] < 0.0075],
        [np.full(3, 0.03), who.iris],
        np.array([0.93, 0.92, 0.90]),
    )
    label[eye] = FACE
