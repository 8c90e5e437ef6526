"""Held-out pairs with their joints, as they come and chosen because they are hard, and what a user
would have told of them: the truth, what imperfect finders give, or a dense pose without an arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..people.body import HAND_L, UPPER_ARM_L, load_body
from ..people.camera import frame_person
from ..people.dress import dress
from ..people.estimator import degrade_dense_pose
from ..people.pose import skin
from ..people.recipe import recipe_of
from ..people.render import see_surface, take_picture
from ..people.sets import stage
from ..people.truth import flow_between, joints_in_picture
from .heldout import SPACING, SPLIT, Pairs
from .pose_measures import HIDDEN, crossed, hard_cases, hidden_share, inside, turned

HEIGHT, WIDTH = 128, 96
SOUGHT, PATIENCE = 50_000, 10_000  # where searches begin, how many people one may look at
OWN = 3  # pictures of a set that show its first person
FINDER_ERROR, FINDER_LOST = 1.0, 0.03  # pixels, and the share of points that a finder misses


@dataclass(frozen=True)
class Told:
    """What a model is told, pictures [B, H, W, 3], 0..1: source, source_pose, target_pose; and
    points [B, 18, 3] in pixels, the third 0 where a point is not known. number: of the pairs [B],
    from which their noise is drawn.
    """

    source: Tensor
    source_pose: Tensor
    target_pose: Tensor
    points: Tensor
    number: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, which: Tensor | slice | list[int]) -> Told:
        return Told(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class PosePairs:
    """pairs: with true dense poses. imperfect: their dense poses as an imperfect estimator gives
    them, [B, 2, H, W, 3], source and target. source_points, target_points: true joints [B, 18, 3].
    people: attributes. drawn: so many rows come as they come, the others were chosen.
    """

    pairs: Pairs
    imperfect: Tensor
    source_points: Tensor
    target_points: Tensor
    people: list[dict[str, Any]]
    drawn: int

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def hard(self) -> dict[str, Tensor]:
        """Which targets are hard, [B] for each reason."""
        return hard_cases(self.target_points, *self.pairs.label.shape[1:])

    def exact(self) -> Told:
        """True dense poses, and true joints wherever they lie in the picture."""
        there = inside(self.target_points, *self.pairs.label.shape[1:])
        return Told(
            self.pairs.source,
            self.pairs.source_pose,
            self.pairs.target_pose,
            _known(self.target_points, there),
            torch.arange(len(self)),
        )

    def found(self, seed: int) -> Told:
        """Dense poses of an imperfect estimator, and joints of an imperfect finder: FINDER_ERROR
        pixels off, those that something covers not known, FINDER_LOST of the others missed.
        """
        g = torch.Generator().manual_seed(seed)
        points = self.target_points.clone()
        points[..., :2] += FINDER_ERROR * torch.randn(points[..., :2].shape, generator=g)
        lost = torch.rand(points.shape[:2], generator=g) < FINDER_LOST
        known = _known(points, (self.target_points[..., 2] > 0) & ~lost)
        source_pose, target_pose = self.imperfect.unbind(1)
        return Told(self.pairs.source, source_pose, target_pose, known, torch.arange(len(self)))

    def armless(self, seed: int) -> Told:
        """As `found`, but the estimator has lost one arm of the target, left or right by chance:
        only its joints tell where it is.
        """
        told = self.found(seed)
        right = torch.randint(2, (len(self), 1, 1), generator=torch.Generator().manual_seed(seed))
        part = (told.target_pose[..., 0] * 25.5).round().long()
        arm = (part >= UPPER_ARM_L) & (part <= HAND_L + 1) & ((part - UPPER_ARM_L) % 2 == right)
        return replace(told, target_pose=told.target_pose * ~arm.unsqueeze(-1))


def _known(points: Tensor, known: Tensor) -> Tensor:
    """Points [B, 18, 3], all three numbers 0 where they are not known."""
    at = torch.cat([points[..., :2], torch.ones_like(points[..., :1])], -1)
    return at * known.unsqueeze(-1)


def pose_pairs(seed: int, count: int, sought: int) -> PosePairs:
    """`count` held-out pairs, the very ones of `render_pairs`, then `sought` with crossed arms, as
    many with a turned body, and as many of whose points something covers HIDDEN. The seed fixes
    everything.
    """
    g = torch.Generator().manual_seed(seed)
    wanted = [(seed * SPACING + i, 0, 1) for i in range(count)]
    kinds = (
        (joints_of, lambda p: crossed(p, HEIGHT, WIDTH)),
        (joints_of, turned),
        (seen_joints_of, lambda p: hidden_share(p, HEIGHT, WIDTH) >= HIDDEN),
    )
    for k, (look, is_hard) in enumerate(kinds):
        found = _search(seed * SPACING + SOUGHT + k * PATIENCE, look, is_hard)
        wanted += [next(found) for _ in range(sought)]
    rows: dict[str, list[Tensor]] = {}
    for number, source, target in wanted:
        for name, value in _pair(number, source, target).items():
            rows.setdefault(name, []).append(value)
    poses = [degrade_dense_pose(pose, g) / 255 for pose in rows.pop("poses_seen")]
    points = [torch.stack(rows.pop(f"{name}_points")) for name in ("source", "target")]
    return PosePairs(
        Pairs(**{name: torch.stack(values) for name, values in rows.items()}),
        torch.stack(poses),
        *points,
        [recipe_of(number, SPLIT).attributes()["people"][0] for number, _, _ in wanted],
        count,
    )


def _pair(seed: int, source: int, target: int) -> dict[str, Tensor]:
    """One pair of a set, as `render_set` renders it, without the set's other pictures."""
    recipe, body = recipe_of(seed, SPLIT), load_body()
    person = dress(body, recipe.people[0], recipe.outfits[0])
    whole = (0, 0, WIDTH, HEIGHT)
    scenes = [stage(recipe, k, person, HEIGHT, WIDTH) for k in (source, target)]
    shots = [take_picture(scene, whole, HEIGHT, WIDTH) for scene in scenes]
    joints = [
        torch.from_numpy(joints_in_picture(scene, shot.surface, whole)[0])
        for scene, shot in zip(scenes, shots, strict=True)
    ]
    flow, visible = flow_between(shots[1].surface, shots[0].surface, scenes[0])
    images, poses = (
        torch.from_numpy(np.stack([getattr(shot, name) for shot in shots]))
        for name in ("image", "dense_pose")
    )
    return {
        "source": images[0] / 255,
        "target": images[1] / 255,
        "source_pose": poses[0] / 255,
        "target_pose": poses[1] / 255,
        "label": torch.from_numpy(shots[1].label),
        "flow": torch.from_numpy(flow).float(),
        "visible": torch.from_numpy(visible),
        "poses_seen": poses,
        "source_points": joints[0],
        "target_points": joints[1],
    }


def joints_of(seed: int) -> Tensor:
    """The joints of a set's first person in all poses, [3, 18, 3], without rendering: the third
    number is 1 in the picture, covered or not.
    """
    recipe, body = recipe_of(seed, SPLIT), load_body()
    person = dress(body, recipe.people[0], recipe.outfits[0])
    poses = []
    for shot in recipe.shots[:OWN]:
        vertices, joints = skin(body, person.vertices, person.heads, shot.angles)
        camera = frame_person(body, joints, recipe.frame, shot.shift, shot.zoom, HEIGHT, WIDTH)
        poses.append(camera.project(body.coco @ vertices[: body.vertex_count]))
    points = torch.from_numpy(np.stack(poses)).float()
    there = inside(points, HEIGHT, WIDTH)
    return torch.cat([points, there.float().unsqueeze(-1)], -1)


def seen_joints_of(seed: int) -> Tensor:
    """`joints_of` with 1 only where nothing else stands before the joint: rays are cast, so it
    takes longer.
    """
    recipe, body = recipe_of(seed, SPLIT), load_body()
    person = dress(body, recipe.people[0], recipe.outfits[0])
    whole, poses = (0, 0, WIDTH, HEIGHT), []
    for k in range(OWN):
        scene = stage(recipe, k, person, HEIGHT, WIDTH)
        surface = see_surface(scene, whole, HEIGHT, WIDTH)
        poses.append(joints_in_picture(scene, surface, whole)[0])
    return torch.from_numpy(np.stack(poses))


def _search(
    first: int, look: Callable[[int], Tensor], is_hard: Callable[[Tensor], Tensor]
) -> Iterator[tuple[int, int, int]]:
    """Seed, source and target of people from `first` on, one pair a person, whose target pose
    is_hard(points [B, 18, 3]) and whose source pose is not. look: a seed's points.
    """
    for seed in range(first, first + PATIENCE):
        hard = is_hard(look(seed))
        if hard.any() and not hard.all():
            yield seed, int((~hard).nonzero()[0, 0]), int(hard.nonzero()[0, 0])
    raise ValueError(f"No further hard pose among {PATIENCE} people; ask for fewer.")
