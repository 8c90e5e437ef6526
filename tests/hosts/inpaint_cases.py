"""What `test_comfy_inpaint.py` gives to both hosts; imports PyTorch alone."""

import torch

PROMPT = "the face of a (young:1.3) woman, short (red) hair"
SIZE, CROPPED = (64, 64), (77, 100)


def picture_and_mask(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture [1, H, W, 3] and a mask [1, H / 2, W / 2] with soft edges, off the grid."""
    g = torch.Generator().manual_seed(5)
    small = torch.rand(1, 3, 6, 6, generator=g)
    picture = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    mask = torch.zeros(1, height // 2, width // 2)
    mask[:, height // 8 + 1 : height // 3, width // 8 : width // 3 + 1] = 1
    return picture.movedim(1, -1), mask


def training_batch() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "x": torch.randn(2, 12, 16, 16, generator=g) * 3,
        "sigma": torch.tensor([0.7, 40.0]),
        "concat": torch.rand(1, 13, 16, 16, generator=g),
    }
