"""Skeletons drawn as common pose preprocessors draw them: bones in the colours of the rainbow.

Points of a hand get blue dots, points of a body the colour of a bone. The drawing does not say
which hand it is.
"""

import colorsys
from dataclasses import dataclass

import torch
from torch import Tensor

DOT = (0.0, 0.0, 1.0)
LINE = 1 / 46  # of the picture's longer side: width of a bone, and radius of a dot


@dataclass(frozen=True)
class Skeleton:
    """names: of the points. bones: pairs of points. dots: whether points are drawn in blue."""

    names: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    dots: bool

    def colours(self) -> Tensor:
        """Of the bones, [bones, 3], 0..1."""
        count = len(self.bones)
        return torch.tensor([colorsys.hsv_to_rgb(k / count, 1.0, 1.0) for k in range(count)])


FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND = Skeleton(
    ("wrist", *(f"{finger} {joint}" for finger in FINGERS for joint in range(1, 5))),
    tuple((0 if k % 4 == 1 else k - 1, k) for k in range(1, 21)),
    True,
)
BODY = Skeleton(
    (
        *("nose", "neck"),
        *(f"right {n}" for n in ("shoulder", "elbow", "wrist")),
        *(f"left {n}" for n in ("shoulder", "elbow", "wrist")),
        *(f"right {n}" for n in ("hip", "knee", "ankle")),
        *(f"left {n}" for n in ("hip", "knee", "ankle")),
        *("right eye", "left eye", "right ear", "left ear"),
    ),
    (
        *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
        *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
    ),
    False,
)


def draw(
    points: Tensor,
    skeleton: Skeleton,
    height: int,
    width: int,
    under: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Pose maps [N, height, width, 3], 0..1, of skeletons [N, points, 3] in pixels.

    A point whose third value is 0 is not drawn, nor are its bones. under: [N, height, width, 3] to
    draw on; black when not given. scale: of the lines' width.
    """
    radius = max(LINE * max(height, width) * scale / 2, 0.6)
    far = _far_from_bones(points, skeleton, height, width)
    canvas = far.new_zeros(len(points), height, width, 3) if under is None else under
    for k, colour in enumerate(skeleton.colours().to(far)):
        cover = (radius + 0.5 - far[:, k]).clamp(0, 1)
        canvas = torch.lerp(canvas, colour.expand_as(canvas), cover.unsqueeze(-1))
    if not skeleton.dots:
        return canvas
    known = points[..., 2] > 0
    far = (_places(points, height, width) - points[:, :, None, None, :2]).norm(dim=-1)
    cover = ((2 * radius + 0.2 - far).clamp(0, 1) * known[:, :, None, None]).amax(1)
    return torch.lerp(canvas, canvas.new_tensor(DOT).expand_as(canvas), cover.unsqueeze(-1))


def thick(points: Tensor, skeleton: Skeleton, height: int, width: int, reach: float) -> Tensor:
    """1 where a bone is nearer than `reach` pixels, [N, height, width]; points as in `draw`."""
    return (_far_from_bones(points, skeleton, height, width).amin(1) <= reach).float()


def _places(points: Tensor, height: int, width: int) -> Tensor:
    """Middles of the pixels, [height, width, 2]."""
    rows, columns = (
        torch.arange(n, device=points.device, dtype=torch.float32) + 0.5 for n in (height, width)
    )
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def _far_from_bones(points: Tensor, skeleton: Skeleton, height: int, width: int) -> Tensor:
    """Distance of every pixel from every bone, [N, bones, height, width]; infinite from a bone
    with an end that is not known.
    """
    place = _places(points, height, width)
    starts, ends = ([bone[end] for bone in skeleton.bones] for end in (0, 1))
    known = points[..., 2] > 0
    both = (known[:, starts] & known[:, ends])[:, :, None, None]
    a = points[:, starts, None, None, :2].float()
    along = points[:, ends, None, None, :2].float() - a
    length = along.square().sum(-1).clamp_min(1e-6)
    reach = ((place - a) * along).sum(-1).div(length).clamp(0, 1)
    far = (place - a - reach.unsqueeze(-1) * along).norm(dim=-1)
    return torch.where(both, far, torch.inf)
