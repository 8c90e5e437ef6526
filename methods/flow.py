"""Flow fields of a sampling run: where in which reference every pixel came from.

Positions are normalised to the reference picture's edges: -1 is its left or top edge, 1 its right
or bottom edge, so the centre of pixel i of W lies at (2 i + 1) / W - 1 (`grid_sample` with
align_corners=False). They do not depend on the size of any picture.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LOW_PASS = 1 / 32
COLOUR_TOLERANCE = 0.2
CYCLE_TOLERANCE = 2.0
SOFT_STEP = 0.2


@dataclass(frozen=True)
class FlowField:
    """Flow from a sample to R references.

    xy: [B, R, h, w, 2], the position in reference r, -1..1. confidence: [B, R, h, w], 0..1, how
    far the model looked there and nowhere else.
    """

    xy: Tensor
    confidence: Tensor

    def __post_init__(self):
        if self.xy.ndim != 5 or self.xy.shape[-1] != 2:
            raise ValueError(f"Flow must be [B, R, h, w, 2]; got {list(self.xy.shape)}.")
        if self.confidence.shape != self.xy.shape[:-1]:
            raise ValueError(
                f"Confidence must be [B, R, h, w] = {list(self.xy.shape[:-1])}; "
                f"got {list(self.confidence.shape)}."
            )

    def check(self, pictures: Tensor, references: Tensor) -> None:
        """Raises ValueError unless this is the flow of B `pictures` to R `references`."""
        b, r = self.xy.shape[:2]
        if len(pictures) != b or len(references) != r:
            raise ValueError(
                f"The flow belongs to {b} picture(s) looking at {r} reference(s); came "
                f"{len(pictures)} picture(s) and {len(references)} reference(s). Connect the "
                "picture and the reference of the sampling run that recorded the flow."
            )


def identity(height: int, width: int, like: Tensor) -> Tensor:
    """The positions of the pixel centres themselves [height, width, 2], -1..1."""
    y = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    x = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)


def resize(field: FlowField, height: int, width: int) -> FlowField:
    """Bilinear to another grid; positions are clamped to the reference.

    The displacement is what is interpolated, so that a translation stays one up to the border.
    """
    b, r, h, w, _ = field.xy.shape
    if (h, w) == (height, width):
        return field
    shift = (field.xy - identity(h, w, field.xy)).reshape(b * r, h, w, 2).movedim(-1, 1)
    shift = F.interpolate(shift, (height, width), mode="bilinear", align_corners=False)
    xy = shift.movedim(1, -1).reshape(b, r, height, width, 2) + identity(height, width, field.xy)
    confidence = F.interpolate(
        field.confidence, (height, width), mode="bilinear", align_corners=False
    )
    return FlowField(xy.clamp(-1, 1), confidence.clamp(0, 1))


def warp(images: Tensor, xy: Tensor) -> Tensor:
    """Fetches pictures at positions, bilinear, differentiable in both.

    images: [N, H', W', C], or one picture [1, H', W', C] for all. xy: [N, H, W, 2], -1..1; outside
    lies the picture's border. Returns [N, H, W, C].
    """
    images = images.expand(len(xy), -1, -1, -1).movedim(-1, 1)
    out = F.grid_sample(images, xy, mode="bilinear", padding_mode="border", align_corners=False)
    return out.movedim(1, -1)


def consistency(field: FlowField, height: int, width: int) -> Tensor:
    """Whether the flow is one that a surface can make [B, R, height, width], 0..1.

    The smaller of two tests, both in steps of the flow's own grid:
    forward: 4 det J / |J|^2 of the Jacobian J, clamped; 1 for anything that turns and scales, 0
    for folds, mirrors and smears. Cyclic: exp(-(e / 2)^2) with e the distance of a token from the
    centre of all tokens that look at the same place of the reference.
    """
    b, r, h, w, _ = field.xy.shape
    xy = field.xy.flatten(0, 1)
    steps = torch.tensor([w, h]).to(xy) / 2
    jacobian = _jacobian(xy * steps)
    size = jacobian.square().sum((-2, -1)).clamp_min(1e-12)
    forward = (4 * torch.linalg.det(jacobian) / size).clamp(0, 1)
    here = identity(h, w, xy).expand_as(xy)
    back = warp(_splat(here, xy, field.confidence.flatten(0, 1)), xy)
    error = ((back - here) * steps).norm(dim=-1)
    cyclic = torch.exp(-(error / CYCLE_TOLERANCE).square())
    both = torch.minimum(forward, cyclic).unflatten(0, (b, r))
    return F.interpolate(both, (height, width), mode="bilinear", align_corners=False)


def detail_transfer(
    sample: Tensor,
    references: Tensor,
    field: FlowField,
    strength: float = 1.0,
    threshold: float = 0.1,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Flow detail transfer (ours, training-free): the references' pixels give back lost detail.

    With W_r a reference warped by the flow, m_r its trust, G a Gaussian of 1/32 of the shorter
    side and D_r = W_r - sample:

        low_r = G(m_r D_r) / G(m_r)
        result = sample + strength * sum_r k_r m_r (D_r - low_r)

    so colour and shading stay the sample's, letters and prints become the reference's. m_r is a
    soft threshold on the confidence of all references together and on the `consistency` of the
    flow, times the agreement exp(-G(|low_r|^2) / 0.2^2) of the colours; k_r shares a pixel among
    the references in favour of the one that the flow prefers.

    sample: [B, H, W, 3], 0..1. references: [R, H', W', 3], 0..1, any size. strength: 0..1; 0 gives
    back the sample itself. threshold: 0..1; 1 trusts nothing. mask: [B or 1, H, W], 0..1, limits
    the transfer. Returns the picture and the weight of the detail [B, H, W], 0..1; where that is 0
    the picture is bit-identical to the sample. Raises ValueError for shapes that do not fit.
    """
    field.check(sample, references)
    height, width = sample.shape[1:3]
    if mask is not None and mask.shape not in (sample.shape[:3], (1, height, width)):
        raise ValueError(
            f"The mask must have the picture's shape {list(sample.shape[:3])}; "
            f"got {list(mask.shape)}."
        )
    if strength == 0:
        return sample, sample.new_zeros(sample.shape[:3])
    field = FlowField(field.xy.to(sample), field.confidence.to(sample))
    fine = resize(field, height, width)
    steady = consistency(field, height, width)
    sure = fine.confidence.sum(1)
    sigma = max(1.0, min(height, width) * LOW_PASS)
    weights, details, preferences = [], [], []
    for r, reference in enumerate(references):
        trust = _soft_step(torch.minimum(sure, steady[:, r]), threshold)
        if mask is not None:
            trust = trust * mask.to(sample)
        difference = _fetch(reference, fine.xy[:, r]) - sample
        low = _low_pass(difference * trust.unsqueeze(-1), sigma) / _low_pass(
            trust.unsqueeze(-1), sigma
        ).clamp_min(1e-4)
        apart = _low_pass(low.square().sum(-1, keepdim=True), sigma).squeeze(-1)
        agreement = torch.exp(-apart / COLOUR_TOLERANCE**2)
        weights.append(trust * agreement)
        details.append(difference - low)
        preferences.append((fine.confidence[:, r] * steady[:, r] * agreement) ** 4)
    share = torch.stack(preferences)
    weight = torch.stack(weights) * share / share.sum(0).clamp_min(1e-12)
    detail = (weight.unsqueeze(-1) * torch.stack(details)).sum(0)
    weight = weight.sum(0)
    result = (sample + strength * detail).clamp(0, 1)
    return torch.where((weight > 0).unsqueeze(-1), result, sample), weight


def _fetch(image: Tensor, xy: Tensor) -> Tensor:
    """Fetches fine detail of one picture [H', W', C] at xy [B, H, W, 2]: bicubic, not aliased.

    Where neighbouring pixels of the result lie more than one pixel apart in the picture (by the
    median), the picture is reduced by that factor first.
    """
    pixels = torch.tensor([image.shape[1], image.shape[0]]).to(xy) / 2
    step = _jacobian(xy * pixels).square().sum((-2, -1)).div(2).sqrt().median().item()
    image = image.to(xy).movedim(-1, 0).unsqueeze(0)
    if step > 1:
        small = [max(1, round(n / step)) for n in image.shape[-2:]]
        image = F.interpolate(image, small, mode="bilinear", antialias=True, align_corners=False)
    image = image.expand(len(xy), -1, -1, -1)
    out = F.grid_sample(image, xy, mode="bicubic", padding_mode="border", align_corners=False)
    return out.movedim(1, -1).clamp(0, 1)


def _jacobian(p: Tensor) -> Tensor:
    """Central differences of [N, h, w, 2] along (x, y): [N, h, w, 2, 2]; 0 along a side of 1."""
    return torch.stack(
        [torch.gradient(p, dim=d)[0] if p.shape[d] > 1 else torch.zeros_like(p) for d in (2, 1)],
        -2,
    )


def _splat(values: Tensor, xy: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of what lands in each cell: values [N, h, w, C] thrown to xy -> [N, h, w, C].

    Bilinear; cells that nothing reaches are 0.
    """
    _, h, w, c = values.shape
    position = (xy + 1) / 2 * torch.tensor([w, h]).to(xy) - 0.5
    corner = position.floor()
    payload = torch.cat([values, torch.ones_like(values[..., :1])], -1) * weight.unsqueeze(-1)
    total = torch.zeros_like(payload).flatten(1, 2)
    for dx in (0, 1):
        for dy in (0, 1):
            at = corner + torch.tensor([dx, dy]).to(xy)
            near = (1 - (position - at).abs()).prod(-1, keepdim=True)
            x, y = at[..., 0].clamp(0, w - 1).long(), at[..., 1].clamp(0, h - 1).long()
            index = (y * w + x).flatten(1, 2).unsqueeze(-1).expand(-1, -1, c + 1)
            total.scatter_add_(1, index, (payload * near).flatten(1, 2))
    mean = total[..., :-1] / total[..., -1:].clamp_min(1e-12)
    return mean.unflatten(1, (h, w))


def _low_pass(x: Tensor, sigma: float) -> Tensor:
    """Gaussian of `sigma` pixels over [B, H, W, C]; the border repeats."""
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-(torch.arange(-radius, radius + 1).to(x) / sigma).square() / 2)
    kernel = kernel / kernel.sum()
    x = x.movedim(-1, 1)
    shape = x.shape
    x = F.pad(x.flatten(0, 1).unsqueeze(1), (radius,) * 4, mode="replicate")
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return x.view(shape).movedim(1, -1)


def _soft_step(trust: Tensor, threshold: float) -> Tensor:
    """0 up to the threshold, 1 from 0.2 above it; a threshold of 1 is never reached."""
    return ((trust - threshold) / SOFT_STEP).clamp(0, 1)
