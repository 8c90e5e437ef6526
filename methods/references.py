"""From pictures of any size to what the reference network is fed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .framing import fit_picture
from .leffa import Reference
from .person import check_dense_pose, encode_dense_pose

FINEST = 8


def reference_of(
    image: Tensor,
    dense_pose: Tensor | None,
    size: tuple[int, int],
    encode: Callable[[Tensor], Tensor],
    scale: float,
    pose_channels: int,
    multiple: int = 0,
    shown_to_all: bool = False,
) -> Reference:
    """R pictures as R references.

    image: [R, H, W, 3 or 4], 0..1. dense_pose: [R, H', W', 3 or 4] or None (unknown). size:
    (h, w) of the model's frame, into which both are fitted; the pictures are also kept at up to 8
    times that size for their detail. encode: pictures to unscaled latents; scale: of the latents
    that the model sees. pose_channels: how many the reference network takes, 0 for none. multiple:
    0 for a model of one size; otherwise the picture keeps its proportions and its size, up to as
    many pixels as `size` has, cropped to multiples of it. shown_to_all: see `Reference`. Raises
    ValueError for a dense pose that is none, or not one per picture, and for a picture that is too
    small.
    """
    image = image[..., :3]
    if multiple:
        image, size = own_frame(image, size, multiple)
    zoom = max(n / m for n, m in zip(image.shape[1:3], size, strict=True))
    zoom = min(max(zoom, 1.0), FINEST)
    fine = fit_picture(image, *(round(n * zoom) for n in size))
    latents = encode(fit_picture(image, *size)) * scale
    grid = tuple(latents.shape[-2:])
    pose = latents.new_zeros(len(image), pose_channels, *grid)
    if dense_pose is not None and pose_channels:
        dense_pose = dense_pose[..., :3]
        check_dense_pose(dense_pose)
        if len(dense_pose) != len(image):
            raise ValueError(
                f"Expected a dense pose for each of {len(image)} reference picture(s); got "
                f"{len(dense_pose)}. Batch as many dense poses as pictures, or connect none."
            )
        pose = encode_dense_pose(fit_picture(dense_pose, *size, exact=True), grid).to(latents)
    return Reference(fine, latents.unsqueeze(0), pose.unsqueeze(0), shown_to_all)


def own_frame(
    image: Tensor, largest: tuple[int, int], multiple: int
) -> tuple[Tensor, tuple[int, int]]:
    """The picture [R, H, W, 3] cropped in the middle to the proportions of its frame, and the
    frame (h, w): its own size, scaled down to at most as many pixels as `largest` has, in
    multiples. Raises ValueError for a picture smaller than one multiple.
    """
    height, width = image.shape[1:3]
    shrink = min(1.0, (largest[0] * largest[1] / (height * width)) ** 0.5)
    h, w = (int(n * shrink + 1e-6) // multiple * multiple for n in (height, width))
    if not h or not w:
        raise ValueError(
            f"Expected a reference picture of at least {multiple}x{multiple} pixels; got "
            f"{width}x{height}. Give a larger one."
        )
    tall, wide = min(height, round(width * h / w)), min(width, round(height * w / h))
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[:, top : top + tall, left : left + wide], (h, w)


def join(first: Reference, second: Reference) -> Reference:
    """The pictures of both, those of `first` first. Raises ValueError unless both were made for
    the same model and have the same frame.
    """
    if first.latents.shape[2:] != second.latents.shape[2:]:
        raise ValueError(
            f"Expected references of one frame, {_cells(first)}; got {_cells(second)}. Give "
            "pictures of one size, and encode both with the same model."
        )
    size = max(first.images.shape[1:3], second.images.shape[1:3])
    images = [
        r.images
        if r.images.shape[1:3] == size
        else F.interpolate(r.images.movedim(-1, 1), size, mode="bilinear").movedim(1, -1)
        for r in (first, second)
    ]
    return Reference(
        torch.cat(images),
        torch.cat([first.latents, second.latents], 1),
        torch.cat([first.dense_pose, second.dense_pose], 1),
        first.shown_to_all,
    )


def _cells(reference: Reference) -> str:
    channels, h, w = reference.latents.shape[2:]
    return f"{channels} channels of {w}x{h} cells"
