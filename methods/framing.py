"""Pictures and masks brought to the size that a model or another picture asks for."""

import torch.nn.functional as F
from torch import Tensor

ASPECT_TOLERANCE = 0.02


def fit_picture(pictures: Tensor, height: int, width: int, exact: bool = False) -> Tensor:
    """Scales to fit into a frame, centred, nothing cropped and nothing stretched.

    pictures: [B, H, W, C], 0..1. The rest of the frame repeats the picture's border. exact=True is
    for pictures whose colours are codes (dense poses): no blending, and the rest is 0.
    Returns [B, height, width, C].
    """
    x = pictures.movedim(-1, 1)
    scale = min(height / x.shape[2], width / x.shape[3])
    h = max(1, min(height, round(x.shape[2] * scale)))
    w = max(1, min(width, round(x.shape[3] * scale)))
    if (h, w) != tuple(x.shape[2:]):
        if exact:
            x = F.interpolate(x, (h, w), mode="nearest-exact")
        else:
            x = F.interpolate(x, (h, w), mode="bilinear", antialias=True).clamp(0, 1)
    top, left = (height - h) // 2, (width - w) // 2
    margins = (left, width - w - left, top, height - h - top)
    return F.pad(x, margins, mode="constant" if exact else "replicate").movedim(1, -1)


def fit_mask(mask: Tensor, pictures: Tensor, name: str) -> Tensor:
    """A mask for pictures [B, H, W, 3]: [B, H, W], 0..1.

    mask: [1 or B, H', W'] of any size with the pictures' proportions, scaled bilinearly. A mask
    that is 0 everywhere may have any size (ComfyUI's Load Image gives 64x64 zeros for a picture
    without transparency). Raises ValueError, calling the mask `name`, for other shapes.
    """
    b, height, width = pictures.shape[:3]
    if mask.ndim == 2:
        mask = mask.unsqueeze(0)
    if mask.ndim != 3 or len(mask) not in (1, b):
        raise ValueError(
            f"Expected one {name} or one for each of {b} picture(s); got a tensor of shape "
            f"{list(mask.shape)}. Make the batch of masks as long as the batch of pictures."
        )
    if not mask.any():
        return mask.new_zeros(b, height, width)
    _, h, w = mask.shape
    if not same_proportions((h, w), (height, width)):
        raise ValueError(
            f"Expected a {name} with the proportions of the picture, {width}x{height}; got "
            f"{w}x{h}. Draw it on this picture, or crop it to the same region."
        )
    if (h, w) != (height, width):
        mask = F.interpolate(mask.unsqueeze(1), (height, width), mode="bilinear").squeeze(1)
    return mask.clamp(0, 1).expand(b, height, width)


def same_proportions(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) differ by scale only, within 2% or one pixel."""
    (h, w), (height, width) = a, b
    wanted = w * height / width
    return abs(h - wanted) <= max(1.0, ASPECT_TOLERANCE * wanted)
