"""Close-ups of one person on several days: faces and hands, for personal and hand models.

The person of a seed is picture 0's person of recipe people-1 with the same seed and split, so that
whole-body pictures and close-ups go together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backdrop import sample_backdrop
from .body import load_body
from .camera import frame_person
from .crops import SIZE, windows
from .dress import dress
from .looks import look_today, usual_look
from .paint import HAIR, TOP
from .pose import Angles, sample_pose
from .recipe import recipe_of, stream
from .render import Scene, Window, build_scene, take_picture
from .truth import joints_in_picture
from .wardrobe import sample_outfit

VERSION = "portraits-1"
FACES, HANDS = 6, 4  # pictures of the face; hands are those of pictures 0 and 1, left and right
_HEIGHT, _WIDTH = 128, 96


@dataclass(frozen=True)
class Portraits:
    """One seed's pictures; points are x, y in pixels of the crop, and 1 where it shows them."""

    face_image: np.ndarray  # u8 [6, 64, 64, 3]
    face_label: np.ndarray  # u8 [6, 64, 64]
    face_points: np.ndarray  # f32 [6, 18, 3] COCO-18
    hand_image: np.ndarray  # u8 [4, 64, 64, 3]
    hand_label: np.ndarray  # u8 [4, 64, 64]
    hand_points: np.ndarray  # f32 [4, 21, 3] the hand that the crop is about
    faces: list[dict]  # attributes per face, "usual" of the person in each
    hands: list[dict]


def gesture(angles: Angles, side: str) -> str:
    """What the four fingers of hand "L" or "R" do, told from their middle joints."""
    curls = np.array([angles[f"finger{k}-2.{side}"][0][1] for k in (2, 3, 4, 5)])
    if (curls > 40).all():
        return "fist"
    if (curls > 40).any():
        return "pointing"
    return "open" if curls.mean() < 8 else "relaxed"


def _jitter(rng: np.random.Generator, window: Window, most: float) -> Window:
    left, top, right, bottom = window
    half = (right - left) / 2 * np.exp(rng.uniform(-most, most))
    shift = rng.uniform(-most, most, 2) * half
    x, y = (left + right) / 2 + shift[0], (top + bottom) / 2 + shift[1]
    return (x - half, y - half, x + half, y + half)


def _scene(seed: int, split: str, picture: int) -> tuple[Scene, dict, Angles]:
    """The person dressed and posed for one picture, and what can be said about it."""
    body, who = load_body(), recipe_of(seed, split).people[0]
    usual = usual_look(stream(split, seed, 10), who)
    rng = stream(split, seed, 11, picture)
    today, look = look_today(rng, who, usual)
    outfit = sample_outfit(rng, who.gender)
    place, angles = sample_backdrop(rng), sample_pose(rng)
    person = dress(body, today, outfit)
    scene = build_scene(
        body,
        person,
        angles,
        lambda joints: frame_person(body, joints, "upper", np.zeros(2), 1.0, _HEIGHT, _WIDTH),
        place,
        cull_to_frame=False,
    )
    facts = {
        **today.attributes(),
        **look.attributes(),
        **outfit.attributes(),
        "freckles": look.freckles > 0,
        "backdrop": place.kind,
        "usual": {**who.attributes(), **usual.attributes()},
    }
    return scene, facts, angles


def render_face(
    seed: int, split: str, picture: int, wider: float = 1.0
) -> tuple[np.ndarray, np.ndarray, dict]:
    """One of a seed's face pictures with more around it, as large per pixel as the close-up.

    Returns image u8 [S, S, 3] and label u8 [S, S], S = 64 * wider, and the attributes; at wider = 1
    they are those of `render_portraits`. Raises ValueError for a picture that a seed has not.
    """
    if picture not in range(FACES):
        raise ValueError(f"picture must be 0 to {FACES - 1}, got {picture}.")
    scene, facts, _ = _scene(seed, split, picture)
    window = _jitter(stream(split, seed, 12, picture), windows(scene)[0], 0.12)
    more = (wider - 1) / 2 * (window[2] - window[0])
    left, top, right, bottom = window
    side = round(wider * SIZE)
    shot = take_picture(scene, (left - more, top - more, right + more, bottom + more), side, side)
    return shot.image, shot.label, facts


def render_portraits(seed: int, split: str) -> Portraits:
    """Renders the close-ups of a seed; bit-identical whenever it is asked for.

    Raises ValueError for an unknown split or a negative seed.
    """
    faces, hands, face_facts, hand_facts = [], [], [], []
    for picture in range(FACES):
        scene, facts, angles = _scene(seed, split, picture)
        rng = stream(split, seed, 12, picture)
        face, *both = windows(scene)
        window = _jitter(rng, face, 0.12)
        shot = take_picture(scene, window, SIZE, SIZE)
        points = joints_in_picture(scene, shot.surface, window)[0]
        faces.append((shot.image, shot.label, points))
        face_facts.append(
            facts
            | {"top_share": float((shot.label == TOP).mean().round(3))}
            | {"hair_share": float((shot.label == HAIR).mean().round(3))}
        )
        for k, side in enumerate("LR" if picture < HANDS // 2 else ""):
            window = _jitter(rng, both[k], 0.1)
            shot = take_picture(scene, window, SIZE, SIZE)
            points = joints_in_picture(scene, shot.surface, window)[1][k]
            hands.append((shot.image, shot.label, points))
            hand_facts.append(
                facts
                | {"side": ("left", "right")[k], "gesture": gesture(angles, side)}
                | {"top_share": float((shot.label == TOP).mean().round(3))}
            )
    face_image, face_label, face_points = (np.stack(x) for x in zip(*faces, strict=True))
    hand_image, hand_label, hand_points = (np.stack(x) for x in zip(*hands, strict=True))
    return Portraits(
        face_image,
        face_label,
        face_points,
        hand_image,
        hand_label,
        hand_points,
        face_facts,
        hand_facts,
    )
