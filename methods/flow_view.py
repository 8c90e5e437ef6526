"""Pictures of a flow field: what the sampler looked at, for the eye.

Every view is scaled up so that its shorter side has at least 512 pixels; several references stand
side by side.
"""

import colorsys
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .flow import FlowField, identity, resize, warp

MIN_SIDE = 512
ARROW_SPACING = 32
ARROW_CONFIDENCE = 0.2
FAINT = 0.55


def view(mode: str, field: FlowField, image: Tensor, references: Tensor) -> Tensor:
    """One of MODES: flow [B, R, h, w], image [B, H, W, 3], references [R, H', W', 3] ->
    [B, H * k, R * W * k, 3], 0..1. Raises ValueError for an unknown mode or sizes that do not fit.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown flow view {mode!r}: expected one of {list(MODES)}.")
    field.check(image, references)
    image, references = image.cpu().float(), references.cpu().float()
    scale = math.ceil(MIN_SIDE / min(image.shape[1:3]))
    size = tuple(n * scale for n in image.shape[1:3])
    field = FlowField(field.xy.cpu().float(), field.confidence.cpu().float())
    fine = resize(field, *size)
    backdrop = F.interpolate(image.movedim(-1, 1), size, mode="bilinear").movedim(1, -1)
    draw = MODES[mode]
    columns = [
        draw(fine.xy[:, r], fine.confidence[:, r], backdrop, references[r])
        for r in range(len(references))
    ]
    return torch.cat(columns, 2).clamp(0, 1)


def colour_wheel(xy: Tensor, confidence: Tensor, image: Tensor, reference: Tensor) -> Tensor:
    """Direction of the way to the source as hue, its length as saturation, confidence as
    brightness; a legend in the corner. xy [B, H, W, 2] -> [B, H, W, 3].
    """
    _, height, width, _ = image.shape
    pictures, longest = _directions(xy, confidence)
    radius = min(height, width) // 12
    side = torch.arange(-radius, radius + 1) / radius
    disc = torch.stack(torch.meshgrid(side, side, indexing="ij")[::-1], -1)
    inside = (disc.norm(dim=-1) <= 1).unsqueeze(-1)
    corner = pictures[:, -2 * radius - 9 : -8, 8 : 2 * radius + 9]
    corner[:] = torch.where(inside, _wheel(disc), corner)
    text = f"rim: {longest / width:.0%} of the width"
    return label(pictures, (2 * radius + 16, height - radius - 8), text)


def glance(field: FlowField, height: int, width: int) -> Tensor:
    """The colour wheel without its legend [B, height, R * width, 3], 0..1: the flow at a glance,
    cheap enough for every step. Colours are relative to the longest way of each reference.
    """
    field = resize(FlowField(field.xy.cpu().float(), field.confidence.cpu().float()), height, width)
    columns = zip(field.xy.unbind(1), field.confidence.unbind(1), strict=True)
    return torch.cat([_directions(*column)[0] for column in columns], 2).clamp(0, 1)


def arrows(xy: Tensor, confidence: Tensor, image: Tensor, reference: Tensor) -> Tensor:
    """Arrows from where the texture lay in the reference to where it lies now, over the picture."""
    _, height, width, _ = image.shape
    source = (xy + 1) / 2 * torch.tensor([width, height])
    way = source - (identity(height, width, xy) + 1) / 2 * torch.tensor([width, height])
    colours = _wheel(way / way.norm(dim=-1).max().clamp_min(1.0))
    result = []
    for b in range(len(image)):
        canvas = _to_pil(image[b] * FAINT + (1 - FAINT))
        pen = ImageDraw.Draw(canvas)
        for y in range(ARROW_SPACING // 2, height, ARROW_SPACING):
            for x in range(ARROW_SPACING // 2, width, ARROW_SPACING):
                if confidence[b, y, x] >= ARROW_CONFIDENCE:
                    colour = tuple((colours[b, y, x] * 200).int().tolist())
                    _arrow(pen, source[b, y, x].tolist(), (x + 0.5, y + 0.5), colour)
        result.append(_from_pil(canvas))
    return torch.stack(result)


def warped_reference(xy: Tensor, confidence: Tensor, image: Tensor, reference: Tensor) -> Tensor:
    """The reference's own pixels at the places where the flow puts them."""
    return warp(reference[None, ..., :3], xy)


def confidence_map(xy: Tensor, confidence: Tensor, image: Tensor, reference: Tensor) -> Tensor:
    """How sure the flow is, black (0) over orange to white (1), with a scale along the bottom."""
    _, height, width, _ = image.shape
    pictures = heat(confidence)
    bar = max(4, height // 40)
    pictures[:, -bar:] = heat(torch.linspace(0, 1, width)).expand(bar, -1, -1)
    pictures = label(pictures, (6, height - bar - 20), "0")
    return label(pictures, (width - 16, height - bar - 20), "1")


View = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
MODES: dict[str, View] = {
    "colour wheel": colour_wheel,
    "arrows": arrows,
    "warped reference": warped_reference,
    "confidence": confidence_map,
}

_HUES = torch.tensor([colorsys.hsv_to_rgb(k / 360, 1.0, 1.0) for k in range(360)])


def _directions(xy: Tensor, confidence: Tensor) -> tuple[Tensor, float]:
    """Colours [B, H, W, 3] of positions [B, H, W, 2], and the longest way in pixels, at least 1."""
    _, height, width, _ = xy.shape
    way = (xy - identity(height, width, xy)) * torch.tensor([width, height]) / 2
    longest = way.norm(dim=-1).max().clamp_min(1.0)
    brightness = FAINT + (1 - FAINT) * confidence.unsqueeze(-1)
    return _wheel(way / longest) * brightness, longest.item()


def _wheel(vector: Tensor) -> Tensor:
    """[..., 2] of length 0..1 -> RGB [..., 3]; zero is white."""
    angle = torch.atan2(vector[..., 1], vector[..., 0]).rad2deg().round().long() % 360
    saturation = vector.norm(dim=-1, keepdim=True).clamp(0, 1)
    return 1 - saturation * (1 - _HUES[angle])


def heat(value: Tensor) -> Tensor:
    """0..1 -> RGB [..., 3]: black, orange, white."""
    return torch.stack([2 * value, 1.2 * value, 2 * value - 1], -1).clamp(0, 1)


def _arrow(
    pen: ImageDraw.ImageDraw,
    tail: tuple[float, float],
    head: tuple[float, float],
    colour: tuple[int, ...],
) -> None:
    dx, dy = head[0] - tail[0], head[1] - tail[1]
    length = math.hypot(dx, dy)
    if length < 2:
        pen.ellipse([head[0] - 2, head[1] - 2, head[0] + 2, head[1] + 2], fill=colour)
        return
    ux, uy = dx / length, dy / length
    size = min(7.0, length)
    base = (head[0] - ux * size, head[1] - uy * size)
    wing = (-uy * size / 2, ux * size / 2)
    pen.line([*tail, *base], fill=colour, width=2)
    pen.polygon(
        [*head, base[0] + wing[0], base[1] + wing[1], base[0] - wing[0], base[1] - wing[1]],
        fill=colour,
    )


def label(pictures: Tensor, at: tuple[int, int], text: str) -> Tensor:
    """Pictures [B, H, W, 3] with white words at (x, y)."""
    labelled = []
    for picture in pictures:
        canvas = _to_pil(picture)
        ImageDraw.Draw(canvas).text(
            at,
            text,
            fill="white",
            stroke_fill="black",
            stroke_width=1,
            font=ImageFont.load_default(18),
        )
        labelled.append(_from_pil(canvas))
    return torch.stack(labelled)


def _to_pil(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture.clamp(0, 1) * 255).round().byte().numpy())


def _from_pil(canvas: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(canvas)).float() / 255
