"""Hands as 21 points, where they lie in their pictures, and what is read from pose finders.

Points are numbered as everywhere: wrist, then thumb to little finger, each from its root to its
tip. The networks know right hands only; left ones are mirrored before and after (our design).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .crops import resample
from .pose_maps import BODY, HAND, draw, thick

POINTS = 21
FRAME = 1.35  # side of a close-up over the hand's extent, as in training
SMALLEST = 8  # pixels of a close-up's side
NORMALISED = 2.0  # coordinates that are all below it are shares of the picture
KEYS = {"hand_left_keypoints_2d": True, "hand_right_keypoints_2d": False}


@dataclass(frozen=True)
class Hand:
    """points: [21, 3], x and y in pixels of the picture and a confidence, 0 for a point that is
    not known. left: whether it is the person's left hand. picture: number in the batch. window:
    left, top and side of its close-up in whole pixels of the picture, which it may leave.
    """

    points: Tensor
    left: bool
    picture: int
    window: tuple[int, int, int]

    def inside(self, side: int) -> Tensor:
        """The points [21, 3] in pixels of a close-up of side x side."""
        left, top, length = self.window
        at = (self.points[:, :2] - self.points.new_tensor([left, top])) * (side / length)
        return torch.cat([at, self.points[:, 2:]], 1)


@dataclass(frozen=True)
class HandPoses:
    """The hands of some pictures, in the order of pictures and people, left before right.

    height, width: of the pictures in pixels. pictures: how many there are. bodies: for each
    picture the bodies [people, 18, 3] (COCO's 18 points), in pixels.
    """

    hands: tuple[Hand, ...]
    height: int
    width: int
    pictures: int = 1
    bodies: tuple[Tensor, ...] = ()

    def maps(self, side: int) -> Tensor:
        """A pose map for each hand, [N, side, side, 3], 0..1, as the picture shows it."""
        if not self.hands:
            return torch.zeros(0, side, side, 3)
        points = torch.stack([hand.inside(side) for hand in self.hands])
        return draw(points, HAND, side, side)

    def regions(self, side: int, reach: float) -> Tensor:
        """Where each hand may be in its close-up, [N, side, side], 0 or 1: what is nearer to a
        bone than `reach` sides of the close-up.
        """
        if not self.hands:
            return torch.zeros(0, side, side)
        points = torch.stack([hand.inside(side) for hand in self.hands])
        return thick(points, HAND, side, side, reach * side)

    def drawing(self) -> Tensor:
        """The whole pictures' pose maps, [B, H, W, 3], 0..1: bodies, and hands over them."""
        out = torch.zeros(self.pictures, self.height, self.width, 3)
        for number, people in enumerate(self.bodies):
            for body in people:
                out[number] = draw(body[None], BODY, self.height, self.width, out[number, None])[0]
        for hand in self.hands:
            under = out[hand.picture, None]
            thin = hand.window[2] / max(self.height, self.width)
            out[hand.picture] = draw(hand.points[None], HAND, self.height, self.width, under, thin)[
                0
            ]
        return out

    def crops(self, pictures: Tensor, side: int) -> Tensor:
        """The close-ups [N, side, side, 3] of pictures [B, H, W, 3]."""
        out = []
        for hand in self.hands:
            left, top, length = hand.window
            window = (left, top, left + length, top + length)
            one = pictures[min(hand.picture, len(pictures) - 1)].movedim(-1, 0)
            out.append(resample(one, window, side, side).movedim(0, -1))
        return torch.stack(out).clamp(0, 1) if out else pictures.new_zeros(0, side, side, 3)


def mirrored(points: Tensor, width: float) -> Tensor:
    """Points [..., 3] in the mirror image of a picture that is `width` pixels wide."""
    return torch.cat([width - points[..., :1], points[..., 1:]], -1)


def window_of(points: Tensor, frame: float = FRAME) -> tuple[int, int, int] | None:
    """The square around the known points of [21, 3], `frame` times their extent; None where fewer
    than two are known.
    """
    known = points[points[:, 2] > 0, :2]
    if len(known) < 2:
        return None
    low, high = known.amin(0), known.amax(0)
    side = max(SMALLEST, math.ceil(frame * float((high - low).max())))
    left, top = (math.floor(n) for n in ((low + high - side) / 2).tolist())
    return left, top, side


def read(
    given: Any, height: int, width: int, confidence: float = 0.3, frame: float = FRAME
) -> HandPoses:
    """Hands of POSE_KEYPOINT as comfyui_controlnet_aux makes it, of OpenPose's JSON, or of ours.

    given: a list of frames or one frame, each {"people": [{"hand_left_keypoints_2d": [x, y, c,
    ...], "hand_right_keypoints_2d": ..., "pose_keypoints_2d": ...}], "canvas_width",
    "canvas_height"}, or {"hands": [{"side": "left" or "right", "points": [[x, y] or [x, y, c],
    ...]}]}; or the JSON text of that. Coordinates are pixels of the frame's canvas (of height and
    width where it names none), or shares of it when all are small. height, width: of the pictures
    to which they are scaled. confidence: points below it are not known. Raises ValueError for what
    is none of these.
    """
    each = frames(given)
    hands, bodies = [], []
    for number, one in enumerate(each):
        size = [one.get(key) or n for key, n in zip(CANVAS, (width, height), strict=True)]
        told = _told(one)
        people = [p.get("pose_keypoints_2d") for p in one.get("people") or ()]
        shapes = [_points(flat, POINTS, "hand") for _, flat in told]
        figures = [_points(flat, len(BODY.names), "body") for flat in people if flat]
        scale = _scale([*shapes, *figures], size, (width, height))
        for (left, _), points in zip(told, shapes, strict=True):
            placed = _placed(points, scale, confidence)
            window = window_of(placed, frame)
            if window is not None:
                hands.append(Hand(placed, left, number, window))
        placed = [_placed(points, scale, confidence) for points in figures]
        bodies.append(torch.stack(placed) if placed else torch.zeros(0, len(BODY.names), 3))
    return HandPoses(tuple(hands), height, width, max(len(each), 1), tuple(bodies))


CANVAS = ("canvas_width", "canvas_height")


def frames(given: Any) -> list[Mapping[str, Any]]:
    """The frames of what `read` reads, one for each picture. Raises ValueError for what is none."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"Expected keypoints as JSON; this text is none ({error}). Paste what a pose "
                "finder saved, or connect its POSE_KEYPOINT output instead."
            ) from error
    each = [given] if isinstance(given, Mapping) else given
    good = isinstance(each, Sequence) and all(
        isinstance(one, Mapping) and ("people" in one or "hands" in one) for one in each
    )
    if not good:
        raise ValueError(
            'Expected frames with "people" (POSE_KEYPOINT, OpenPose) or "hands"; got '
            f"{str(given)[:60]!r}. Connect DWPose's or OpenPose's keypoints."
        )
    return list(each)


def _told(frame: Mapping[str, Any]) -> list[tuple[bool, Sequence[Any]]]:
    """(is it a left hand, its numbers) of every hand that a frame tells."""
    out = []
    for person in frame.get("people") or ():
        out += [(left, person[key]) for key, left in KEYS.items() if person.get(key)]
    for hand in frame.get("hands") or ():
        if hand.get("side") not in ("left", "right") or "points" not in hand:
            raise ValueError(
                'Expected every hand as {"side": "left" or "right", "points": [[x, y], ...]}; got '
                f"{str(hand)[:60]!r}. Add what is missing."
            )
        out.append((hand["side"] == "left", hand["points"]))
    return out


def _points(numbers: Sequence[Any], count: int, what: str) -> Tensor:
    """[count, 3] from a flat list of x, y, c or a list of [x, y] or [x, y, c]."""
    try:
        flat = torch.tensor(numbers, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected the {what}'s points as numbers; got {str(numbers)[:60]!r} ({error})."
        ) from error
    if flat.ndim == 2 and flat.shape == (count, 2):
        flat = torch.cat([flat, torch.ones(count, 1)], 1)
    if flat.numel() != 3 * count:
        raise ValueError(
            f"Expected {count} points of a {what}, x, y and confidence each; got {flat.numel()} "
            "numbers. Other pose finders number their points differently; convert them to "
            "OpenPose's."
        )
    return flat.reshape(count, 3)


def _scale(
    shapes: Sequence[Tensor], canvas: Sequence[float], size: tuple[int, int]
) -> tuple[float, float]:
    known = [points[points[:, 2] > 0, :2] for points in shapes]
    most = max((float(at.abs().max()) for at in known if len(at)), default=0.0)
    if most <= NORMALISED:
        return float(size[0]), float(size[1])
    return size[0] / canvas[0], size[1] / canvas[1]


def _placed(points: Tensor, scale: tuple[float, float], confidence: float) -> Tensor:
    known = points[:, 2] >= max(confidence, 1e-6)
    at = points[:, :2] * points.new_tensor(scale)
    return torch.cat([at, (points[:, 2] * known)[:, None]], 1)
