"""The inpainting model with a text encoder on the embedded host, with random weights."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mannequin.hosts import diffusers as host
from mannequin.lab.training import models
from mannequin.methods.leffa import Leffa, Reference

SIZE = 64
C = 12


@pytest.fixture(scope="module")
def loaded(inpaint_file):
    return host.load_inpaint_model(inpaint_file)


def said(clip, prompt):
    return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0]


@pytest.fixture(scope="module")
def scene(loaded):
    """A picture, its mask, and what the conditioning says of them."""
    picture = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 18:42, 16:48] = 1
    grey = torch.lerp(picture, torch.full_like(picture, 0.5), mask.unsqueeze(-1))
    vae = loaded[2]
    return {
        "latent": {"samples": vae.encode(picture), "noise_mask": mask},
        "told": {"concat_latent_image": vae.encode(grey), "concat_mask": mask.unsqueeze(1)},
    }


def sample(loaded, scene, prompt="a face", cfg=2.0, latent=None, told=None, text=None, seed=4):
    model, clip, _ = loaded
    text = said(clip, prompt) if text is None else text
    told = scene["told"] if told is None else told
    positive, negative = [[text, told]], [[said(clip, ""), told]]
    latent = scene["latent"] if latent is None else latent
    with torch.inference_mode():
        return host.sample(
            model, seed, 2, cfg, "euler", "normal", positive, negative, latent
        )["samples"]  # fmt: skip


def test_the_text_and_the_seed_say_what_is_painted(loaded, scene):
    out = sample(loaded, scene)
    assert out.shape == (1, C, 16, 16) and torch.isfinite(out).all()
    assert torch.equal(out, sample(loaded, scene))
    assert not torch.equal(out, sample(loaded, scene, seed=5))
    assert not torch.allclose(out, sample(loaded, scene, "a left hand"), atol=1e-3)
    assert not torch.allclose(out, sample(loaded, scene, cfg=4.0), atol=1e-3)


def test_what_the_noise_mask_leaves_out_is_kept(loaded, scene):
    out = sample(loaded, scene)
    kept = scene["latent"]["samples"]
    torch.testing.assert_close(out[..., :4, :], kept[..., :4, :], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(out[..., 5:10, 5:10], kept[..., 5:10, 5:10], atol=1e-2)


def test_a_cell_is_to_be_painted_as_soon_as_one_of_its_pixels_is(loaded, scene):
    model = loaded[0]
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 19:33, 20] = 1
    mask[:, 50, 50] = 0.4
    channels = host.repaint_channels(model, scene["told"]["concat_latent_image"], mask)
    assert channels.shape == (1, 1 + C, 16, 16)
    assert channels[0, 0].nonzero().tolist() == [[y, 5] for y in range(4, 9)]
    assert torch.equal(channels[:, 1:], scene["told"]["concat_latent_image"])


def test_batches_share_one_picture_or_bring_their_own(loaded, scene):
    start = scene["latent"]["samples"]
    two = {"samples": start.repeat(2, 1, 1, 1)}
    out = sample(loaded, scene, latent=two)
    assert len(out) == 2 and not torch.equal(out[0], out[1])
    other = torch.cat([scene["told"]["concat_latent_image"], torch.zeros_like(start)])
    told = {**scene["told"], "concat_latent_image": other}
    pair = sample(loaded, scene, latent=two, told=told)
    torch.testing.assert_close(pair[:1], out[:1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(pair[1], out[1], atol=1e-3)
    with pytest.raises(ValueError, match=r"holds 2 pictures and the latent 3: expected the same"):
        sample(loaded, scene, latent={"samples": start.repeat(3, 1, 1, 1)}, told=told)


def test_pictures_are_cropped_as_the_conditioning_crops_them(loaded):
    _, _, vae = loaded
    assert vae.encode(torch.rand(1, 77, 100, 3)).shape == (1, C, 18, 24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"told": {}}, "Put InpaintModelConditioning between CLIP Text Encode and the sampler"),
        ({"latent": {"samples": torch.zeros(1, C, 8, 16)}}, "Expected a latent of 16x16 cells"),
        ({"text": torch.zeros(1, 77, 768)}, "Expected text of 96 values per token; got 768"),
        ({"told": {"concat_latent_image": torch.zeros(1, 4, 16, 16),
                   "concat_mask": torch.ones(1, 1, 64, 64)}}, "encoded to 12 channels; got 4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_what_to_connect(loaded, scene, change, message):
    with pytest.raises(ValueError, match=message):
        sample(loaded, scene, **change)


def test_reference_attention_says_that_this_model_has_no_reference_network(loaded, scene):
    model, clip, vae = loaded
    image = torch.rand(1, SIZE, SIZE, 3)
    latents = vae.encode(image)[:, None]
    reference = Reference(image, latents, latents[:, :, :0])
    with pytest.raises(ValueError, match=r"this one carries none. Load it with Load Person Model"):
        sample((host.patch(model, Leffa(reference)), clip, vae), scene)


def changed(path, folder, config=None, drop=None):
    """The model's file with another configuration or without a room."""
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["mannequin"])
    tensors = {k: t for k, t in load_file(path).items() if not drop or not k.startswith(drop)}
    out = folder / "changed.safetensors"
    save_file(tensors, out, None if config is None else {"mannequin": json.dumps(config(told))})
    return out


def bad_file(inpaint_file, folder, kind):
    path = folder / f"{kind.replace(' ', '_')}.safetensors"
    if kind == "truncated":
        path.write_bytes(inpaint_file.read_bytes()[:100_000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "person model":
        models.build(0, path)
    elif kind == "without text":
        return changed(inpaint_file, folder, lambda told: told, "text.")
    elif kind == "no configuration":
        return changed(inpaint_file, folder)
    elif kind == "text without words":
        return changed(inpaint_file, folder, lambda told: {**told, "text": {"length": 8}})
    elif kind == "misfit":
        return changed(inpaint_file, folder, lambda t: {**t, "text": {**t["text"], "width": 48}})
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file. Put the model into models/mannequin/inpaint"),
        ("empty", "is empty"),
        ("truncated", "not a whole safetensors file"),
        ("person model", "is a person model, not an inpainting model .* in Load Person Model"),
        ("without text", "expected tensors under unet, text, vae; missing text"),
        ("no configuration", "expected a configuration in the metadata; got none"),
        ("text without words", "expected a text encoder's words, .*; missing words, aliases"),
        ("misfit", "do not fit their configuration"),
    ],
)
def test_bad_model_files_are_named(inpaint_file, tmp_path, kind, message):
    path = bad_file(inpaint_file, tmp_path, kind)
    with pytest.raises(ValueError, match=message) as error:
        host.load_inpaint_model(path)
    assert str(path) in str(error.value)


def test_load_person_model_says_where_an_inpainting_model_belongs(inpaint_file):
    with pytest.raises(ValueError, match="choose it in Load Inpaint Model"):
        host.load_person_model(inpaint_file)
