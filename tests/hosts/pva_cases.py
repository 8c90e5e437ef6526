"""What `test_comfy_pva.py` gives to both hosts; imports PyTorch alone."""

import torch

PROMPT, SIZE, DIMENSION, SOURCE = "photo of a <new1> person, laughing", (64, 64), 16, "net"


def tensors(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def person(embedding, seed: int, count: int = 3):
    """A FaceEmbedding of random vectors and smooth pictures."""
    vectors = tensors(seed, count, 1, DIMENSION)
    small = tensors(seed + 50, count, 3, 4, 4).sigmoid()
    pictures = torch.nn.functional.interpolate(small, SIZE, mode="bilinear").movedim(1, -1)
    faces = torch.zeros(count, *SIZE)
    faces[:, 20:44, 20:44] = 1
    return embedding(vectors, vectors.flip(-1), SOURCE, pictures, faces)


def shaken(new_adapter, layers):
    """An adapter with other weights than the text's, and a word; the same in both processes."""
    torch.manual_seed(0)
    adapter = new_adapter(layers, "mannequin-tiny-inpaint", SOURCE, DIMENSION)
    changed = {
        name: t + 0.5 * t.std() * tensors(i, *t.shape)
        for i, (name, t) in enumerate(sorted(adapter.tensors.items()))
        if t.ndim == 2
    }
    return adapter.with_tensors({**changed, "word": tensors(99, 96) * 0.3})


def picture_and_mask() -> tuple[torch.Tensor, torch.Tensor]:
    small = tensors(5, 1, 3, 6, 6).sigmoid()
    picture = torch.nn.functional.interpolate(small, SIZE, mode="bilinear").movedim(1, -1)
    mask = torch.zeros(1, *SIZE)
    mask[:, 16:48, 16:48] = 1
    return picture, mask
