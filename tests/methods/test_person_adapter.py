"""Adapters: what they hold, which model and faces they fit, and IP-Adapter's files."""

import pytest
import torch

from mannequin.methods.identity import IdentityEncoder
from mannequin.methods.person_adapter import (
    image_prompt_adapter,
    new_adapter,
    resolve_vectors,
)
from mannequin.methods.pva import FaceEmbedding, Projections

WIDTH = 16
LAYERS = ("down.0.0", "down.1.0", "up.0.0", "up.0.1", "mid.0")


def base(channels=8, layers=LAYERS):
    g = torch.Generator().manual_seed(3)
    return {
        layer: Projections(
            torch.randn(channels, channels, generator=g),
            torch.randn(channels, WIDTH, generator=g),
            torch.randn(channels, WIDTH, generator=g),
        )
        for layer in layers
    }


def faces(dimension=6, count=3, source="net"):
    g = torch.Generator().manual_seed(4)
    v = torch.randn(count, 1, dimension, generator=g)
    return FaceEmbedding(v, v + 0.1, source, torch.rand(count, 8, 8, 3), torch.ones(count, 8, 8))


def image_prompt_file(order=LAYERS, inner=128, width=32, dimension=20, latents=3, depth=2):
    g = torch.Generator().manual_seed(6)
    r = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    out = {
        "image_proj.latents": r(1, latents, width),
        "image_proj.proj_in.weight": r(width, dimension),
        "image_proj.proj_in.bias": r(width),
        "image_proj.proj_out.weight": r(WIDTH, width),
        "image_proj.proj_out.bias": r(WIDTH),
        "image_proj.norm_out.weight": r(WIDTH),
        "image_proj.norm_out.bias": r(WIDTH),
    }
    for i in range(depth):
        at = f"image_proj.layers.{i}"
        for norm in ("0.norm1", "0.norm2", "1.0"):
            out[f"{at}.{norm}.weight"], out[f"{at}.{norm}.bias"] = r(width), r(width)
        out[f"{at}.0.to_q.weight"] = r(inner, width)
        out[f"{at}.0.to_kv.weight"] = r(2 * inner, width)
        out[f"{at}.0.to_out.weight"] = r(width, inner)
        out[f"{at}.1.1.weight"], out[f"{at}.1.3.weight"] = r(4 * width, width), r(width, 4 * width)
    for number, _ in enumerate(order):
        for room in ("to_k_ip", "to_v_ip"):
            out[f"ip_adapter.{2 * number + 1}.{room}.weight"] = r(8, WIDTH)
    return out


def test_a_new_adapter_copies_the_text_projections():
    own = base()
    adapter = new_adapter(own, "a model", "net", 6)
    for layer, made in adapter.branch(own).items():
        for room in ("to_q", "to_k", "to_v"):
            assert torch.equal(getattr(made, room), getattr(own[layer], room))
    assert adapter.tokens(faces().vectors).shape == (1, 10, WIDTH)


def test_tokens_do_not_depend_on_the_order_of_the_pictures_nor_on_padding():
    torch.manual_seed(0)
    encoder = IdentityEncoder(6, WIDTH).eval()
    vectors = torch.randn(1, 3, 6)
    padded = torch.cat([vectors, torch.randn(1, 2, 6)], 1)
    present = torch.tensor([[True, True, True, False, False]])
    with torch.inference_mode():
        tokens = encoder(vectors)
        torch.testing.assert_close(encoder(vectors[:, [2, 0, 1]]), tokens)
        torch.testing.assert_close(encoder(padded, present), tokens)
        assert (encoder(vectors[:, :1]) - tokens).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (base(layers=LAYERS[:-1]), "with 5 cross-attention layers; this model has 4"),
        (base(channels=10), r"is \[8, 8\] there and \[10, 10\] here"),
    ],
)
def test_an_adapter_for_another_base(other, message):
    with pytest.raises(ValueError, match=message):
        new_adapter(base(), "a model", "net", 6).branch(other)


def test_faces_of_another_network():
    adapter = new_adapter(base(), "a model", "net", 6)
    with pytest.raises(ValueError, match="trained with faces of net"):
        resolve_vectors(adapter, faces(source="another"))
    with pytest.raises(ValueError, match="6 numbers each"):
        resolve_vectors(adapter, faces(dimension=7))
    with pytest.raises(ValueError, match="Expected faces from Face Encoder"):
        resolve_vectors(adapter, None)


def test_a_personal_adapter_knows_its_person():
    adapter = new_adapter(base(), "a model", "net", 6)
    personal = adapter.with_tensors({"vectors": faces().vectors}, personal=True)
    assert personal.personal and not adapter.personal
    assert torch.equal(resolve_vectors(personal, None), faces().vectors)


def test_image_prompt_files_bring_keys_values_and_their_projection():
    stored, own = image_prompt_file(), base()
    adapter = image_prompt_adapter(stored)
    branch = adapter.branch(own)
    # the file counts down, up, middle
    for number, layer in enumerate(("down.0.0", "down.1.0", "up.0.0", "up.0.1", "mid.0")):
        assert torch.equal(
            branch[layer].to_k, stored[f"ip_adapter.{2 * number + 1}.to_k_ip.weight"]
        )
        assert torch.equal(branch[layer].to_q, own[layer].to_q)
    tokens = adapter.tokens(torch.randn(2, 5, 20))
    assert tokens.shape == (1, 6, WIDTH) and tokens.isfinite().all()
    with pytest.raises(ValueError, match="IP-Adapter plus file"):
        image_prompt_adapter({"image_proj.proj.weight": torch.zeros(2, 2)})
