"""Pairs of pictures for the recurrent aligner: rendered ones, whose flow is known, and one's own.

Somebody's own pictures: FOLDER/PERSON/NAME.png (.jpg, .webp), two or more of a person in the same
clothes, and beside each its dense pose in NAME-pose.png, as the model was trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...methods.flow import identity
from ...methods.framing import fit_picture
from ...methods.person import check_dense_pose, encode_dense_pose, generator_concat, latent_mask
from ..people.estimator import degrade_dense_pose
from .data import Shards, garment_region, pair_index, pictures
from .pva_folder import open_picture, pictures_in

TRY_ON, SOURCE_POSE_UNKNOWN, DEGRADED = 0.2, 0.1, 0.7  # shares of the rows
POSE = "-pose"  # what a dense pose's file name ends in
CLEAR = 0.25  # the share of a cell from which the person's flow counts, not the background's

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Truth:
    """What is known of the flow, at the latent's grid.

    xy: [B, h, w, 2], -1..1; sure: [B, h, w], the share of a cell to which it applies. visible:
    [B, h, w], the share of a cell that the source shows, where known [B, h, w] is above 0.
    """

    xy: Tensor
    sure: Tensor
    visible: Tensor
    known: Tensor


@dataclass(frozen=True)
class AlignerBatch:
    """target, source: latents [B, C, h, w]. source_pose, target_pose: [B, D, h, w]. concat: as the
    generator is told, [B, 1 + C + D, h, w]. weight: of the diffusion loss [B, 1, h, w].
    source_picture, target_picture: [B, 3, H, W], -1..1. person: [B, 1, H, W]. truth: None for
    pictures that were not rendered.
    """

    target: Tensor
    source: Tensor
    source_pose: Tensor
    target_pose: Tensor
    concat: Tensor
    weight: Tensor
    source_picture: Tensor
    target_picture: Tensor
    person: Tensor
    truth: Truth | None


def batch_of(
    encode: Encode,
    images: tuple[Tensor, Tensor],
    poses: tuple[Tensor, Tensor],
    region: Tensor,
    known: Tensor,
    truth: Callable[[tuple[int, int]], Truth] | None,
) -> AlignerBatch:
    """images: source and target [B, 3, H, W], -1..1. poses: [B, H, W, 3], 0..1, each. region:
    [B, 1, H, W], 1 where the target is painted anew. known: [B] bool, whether the source's dense
    pose is told. truth: what is known of the flow at a grid.
    """
    source, target = (encode(image) for image in images)
    grid = tuple(target.shape[-2:])
    pose_s, pose_t = (encode_dense_pose(pose, grid) for pose in poses)
    mask, masked = latent_mask(region[:, 0], grid), encode(images[1] * (1 - region))
    person = (poses[1][..., 0] > 0).float().unsqueeze(1)
    return AlignerBatch(
        target=target,
        source=source,
        source_pose=pose_s * known[:, None, None, None],
        target_pose=pose_t,
        concat=generator_concat(mask, masked, pose_t),
        weight=mask * (0.3 + F.adaptive_avg_pool2d(person, grid)),
        source_picture=images[0],
        target_picture=images[1],
        person=person,
        truth=None if truth is None else truth(grid),
    )


def truth_at(
    grid: tuple[int, int], flow: Tensor, visible: Tensor, painted: Tensor, empty: Tensor
) -> Truth:
    """flow: [B, H, W, 2], NaN where there is none; visible: [B, H, W], of the person's surface.
    painted: [B, H, W], 1 where the target shows the person. empty: [B, H, W], 1 where both
    pictures show the same background, which has not moved; NaN where backgrounds differ.

    A cell of both takes the person's flow from a quarter on: a mean of the two points nowhere.
    """

    def pooled(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x.unsqueeze(1), grid).squeeze(1)

    same = (~torch.isnan(empty)).float()
    still = torch.nan_to_num(empty) * (1 - painted)
    person, ground = pooled(visible), pooled(still)
    way = (torch.nan_to_num(flow) - identity(*flow.shape[1:3], flow)) * visible.unsqueeze(-1)
    way = F.adaptive_avg_pool2d(way.movedim(-1, 1), grid).movedim(1, -1)
    moves = person >= torch.minimum(ground, torch.full_like(ground, CLEAR)).clamp_min(1e-6)
    xy = identity(*grid, flow) + torch.where(
        moves.unsqueeze(-1), way / person.clamp_min(1e-6).unsqueeze(-1), torch.zeros_like(way)
    )
    known = pooled(torch.maximum(painted, same))
    return Truth(
        xy=xy,
        sure=torch.where(moves, person, ground),
        visible=((person + ground) / known.clamp_min(1e-6)).clamp(0, 1),
        known=known,
    )


class RenderedPairs:
    """Two pictures of one rendered person, or two people in the same top (try-on)."""

    def __init__(self, shards: Shards, encode: Encode) -> None:
        self.shards, self.encode = shards, encode

    def draw(self, count: int, g: torch.Generator) -> AlignerBatch:
        def chance(share: float) -> Tensor:
            return torch.rand(count, generator=g) < share

        sets = torch.randint(self.shards.sets, (count,), generator=g)
        target = torch.randint(3, (count,), generator=g)
        source = (target + torch.randint(1, 3, (count,), generator=g)) % 3
        try_on = chance(TRY_ON)
        source = torch.where(try_on, torch.full_like(source, 3), source)
        take = self.shards.gather
        iuv_s, iuv_t = take("dense_pose", sets, source), take("dense_pose", sets, target)
        label_s, label = take("label", sets, source), take("label", sets, target)
        bad = chance(DEGRADED)[:, None, None, None]
        poses = tuple(
            torch.where(bad, degrade_dense_pose(iuv, g), iuv).float() / 255
            for iuv in (iuv_s, iuv_t)
        )
        region = garment_region(label, iuv_t, g).unsqueeze(1)
        region = torch.where(try_on[:, None, None, None], region, torch.ones(1))
        pair = pair_index(source, target)
        flow, visible = take("flow", sets, pair).float(), take("visible", sets, pair).float()
        h, w = flow.shape[1:3]
        painted, covered = (
            F.adaptive_max_pool2d((x > 0).float().unsqueeze(1), (h, w)).squeeze(1)
            for x in (label, label_s)
        )
        empty = torch.where(try_on[:, None, None], torch.full_like(covered, torch.nan), 1 - covered)
        images = tuple(pictures(take("image", sets, i)) for i in (source, target))
        return batch_of(
            self.encode,
            images,
            poses,
            region,
            ~chance(SOURCE_POSE_UNKNOWN),
            lambda grid: truth_at(grid, flow, visible, painted, empty),
        )


class FolderPairs:
    """Pairs out of a folder of one's own pictures, see the module. Raises ValueError when a folder
    holds no two pictures with dense poses.

    size: (h, w) of the model's frame, into which pictures and dense poses are fitted.
    """

    def __init__(self, folder: Path, encode: Encode, size: tuple[int, int]) -> None:
        self.encode, self.people = encode, []
        for place in sorted(p for p in Path(folder).iterdir() if p.is_dir()):
            views = [
                (_fitted(path, size, exact=False), _fitted(_pose_of(path), size, exact=True))
                for path in pictures_in(place)
                if not path.stem.endswith(POSE) and _pose_of(path).is_file()
            ]
            if len(views) > 1:
                self.people.append(tuple(torch.stack(kind) for kind in zip(*views, strict=True)))
        if not self.people:
            raise ValueError(
                f"{folder}: expected a folder for each person with two or more pictures, and the "
                f"dense pose of each beside it in NAME{POSE}.png; found none."
            )

    def draw(self, count: int, g: torch.Generator) -> AlignerBatch:
        rows = []
        for which in torch.randint(len(self.people), (count,), generator=g).tolist():
            image, pose = self.people[which]
            s, t = torch.randperm(len(image), generator=g)[:2].tolist()
            rows.append((image[s], image[t], pose[s], pose[t]))
        source, target, pose_s, pose_t = (torch.stack(x) for x in zip(*rows, strict=True))
        images = tuple(x.movedim(-1, 1) * 2 - 1 for x in (source, target))
        everywhere = torch.ones_like(images[1][:, :1])
        known = torch.rand(count, generator=g) >= SOURCE_POSE_UNKNOWN
        return batch_of(self.encode, images, (pose_s, pose_t), everywhere, known, None)


def _pose_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}{POSE}.png")


def _fitted(path: Path, size: tuple[int, int], exact: bool) -> Tensor:
    """A file's picture [h, w, 3], 0..1. Raises ValueError for a dense pose that is none."""
    picture = open_picture(path).unsqueeze(0)
    if exact:
        try:
            check_dense_pose(picture)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return fit_picture(picture, *size, exact=exact)[0]
