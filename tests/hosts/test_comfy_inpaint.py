"""An inpainting model with a text encoder on a real ComfyUI, against the embedded host.

`inpaint_child.py` says how each case is made on ComfyUI.
"""

import runpy
from pathlib import Path

import pytest
import torch

from mannequin.headless.text_nodes import CLIPTextEncode, InpaintModelConditioning
from mannequin.hosts import diffusers as embedded
from mannequin.methods.site import Method

CASES = runpy.run_path(str(Path(__file__).with_name("inpaint_cases.py")))
PROMPT, SIZE, CROPPED = (CASES[name] for name in ("PROMPT", "SIZE", "CROPPED"))


@pytest.fixture(scope="module")
def out(comfy_child, inpaint_file):
    return comfy_child("inpaint_child.py", inpaint_file)


@pytest.fixture(scope="module")
def loaded(inpaint_file):
    return embedded.load_inpaint_model(inpaint_file)


def told(loaded, prompt=PROMPT, size=SIZE, noise_mask=True, batch=1):
    """positive, negative, latent as the embedded engine's core nodes make them."""
    _, clip, vae = loaded
    picture, mask = CASES["picture_and_mask"](*size)
    both = [CLIPTextEncode.execute(text, clip).args[0] for text in (prompt, "")]
    pixels = picture.repeat(batch, 1, 1, 1)
    return InpaintModelConditioning.execute(*both, vae, pixels, mask, noise_mask).args


def paint(loaded, given, cfg=2.5):
    with torch.inference_mode():
        done = embedded.sample(loaded[0], 7, 3, cfg, "euler", "simple", *given)
    return done["samples"]


def same(a, b, tolerance=1e-3):
    """At a first noise level of 4500, float32 leaves about 1e-4 of a latent of size 4."""
    return a.shape == b.shape and bool((a - b).abs().max() < tolerance * b.abs().max())


def far(a, b):
    return bool((a - b).abs().max() > 0.005 * b.abs().max())


@pytest.mark.parametrize(("name", "size"), [("whole", SIZE), ("cropped", CROPPED)])
def test_the_core_nodes_make_the_same_conditioning(out, loaded, name, size):
    positive, _, latent = told(loaded, size=size)
    assert same(out[f"{name}_picture"], positive[0][1]["concat_latent_image"], 1e-5)
    assert same(out[f"{name}_mask"], positive[0][1]["concat_mask"], 1e-6)
    assert same(out[f"{name}_start"], latent["samples"], 1e-5)
    assert torch.equal(out[f"{name}_mask"], out[f"{name}_mask"].clamp(0, 1))
    assert out[f"{name}_mask"].frac().any(), "the mask has soft edges"
    assert out[f"{name}_start"].shape[-2:] == tuple(n // 8 * 2 for n in size)


def test_the_text_is_the_same(out, loaded):
    positive, negative, _ = told(loaded)
    assert out["text"].shape == (1, 48, 96)
    assert same(out["text"], positive[0][0], 1e-5)
    assert same(out["no_text"], negative[0][0], 1e-5)
    assert torch.equal(out["text_of_clone"], out["text"])
    assert torch.equal(out["text_of_last_layer"], out["text"]), "there are no layers to skip"
    assert out["word_ids"][:11].tolist() == [*range(10), 0]


@pytest.mark.parametrize(
    ("case", "options", "cfg"),
    [
        ("whole_sampled", {}, 2.5),
        ("cropped_sampled", {"size": CROPPED}, 2.5),
        ("other_text", {"prompt": "a left hand"}, 2.5),
        ("unguided", {}, 1.0),
        ("without_noise_mask", {"noise_mask": False}, 2.5),
        ("batch", {"batch": 2}, 2.5),
    ],
)
def test_samples_are_the_same(out, loaded, case, options, cfg):
    mine = paint(loaded, told(loaded, **options), cfg)
    assert same(out[case], mine)
    if case != "whole_sampled":
        assert out[case].shape != out["whole_sampled"].shape or far(out[case], out["whole_sampled"])


def test_the_pictures_are_the_same(out, loaded):
    mine = loaded[2].decode(paint(loaded, told(loaded)))
    assert (out["decoded"] - mine).abs().max() < 2 / 255


def test_longer_and_combined_conditioning_and_repeated_latents_are_sampled(out):
    for case in ("longer_text", "combined"):
        assert out[case].shape == out["whole_sampled"].shape
        assert far(out[case], out["whole_sampled"])
    assert same(out["repeated"][:1], out["whole_sampled"])
    assert far(out["repeated"][1:], out["whole_sampled"])


def test_loras_on_network_and_text_encoder_count_and_leave_nothing(out):
    assert far(out["lora"], out["whole_sampled"])
    assert far(out["text_with_lora"], out["text"])
    assert torch.equal(out["text_again"], out["text"])


class Added(Method):
    """As in the child."""

    kinds = ("cross",)

    def __init__(self):
        self.vectors = {}

    def output(self, n_in, n_out, site):
        width = n_out.shape[-1]
        if width not in self.vectors:
            self.vectors[width] = torch.zeros(width, requires_grad=True)
        return n_out + self.vectors[width]


def test_training_gives_the_same_predictions_and_gradients(out, loaded):
    model, clip, _ = loaded
    batch, method = CASES["training_batch"](), Added()
    with embedded.differentiable(model) as predict:
        word = torch.zeros(96, requires_grad=True)
        text = embedded.encode_text(clip, ["a <new1> face", "hair"], {"<new1>": word})
        x0 = predict(batch["x"], batch["sigma"], text, batch["concat"], [method])
        x0.square().mean().backward()
    assert same(out["train_x0"], x0.detach(), 1e-4)
    assert same(out["train_word"], word.grad)
    for width, vector in method.vectors.items():
        assert same(out[f"train_grad_{width}"], vector.grad), width


def test_training_works_on_weights_that_a_lora_patched_inside_inference_mode(out):
    assert out["patched_inside"] and out["restored"]
    assert far(out["train_lora_x0"], out["train_x0"])
    assert out["train_lora_grad_128"].abs().sum() > 0
    assert same(out["lora_before_training"], out["lora"], 1e-6)
    assert torch.equal(out["sampled_again"], out["whole_sampled"])


def test_cross_attention_weights_are_the_models_own(out, loaded):
    ours = embedded.cross_attention_weights(loaded[0])
    found = {name for name in out if name.startswith("weight_")}
    assert found == {f"weight_{layer}_{room}" for layer, rooms in ours.items() for room in rooms}
    for layer, rooms in ours.items():
        for room, weight in rooms.items():
            assert torch.equal(out[f"weight_{layer}_{room}"], weight), (layer, room)


def test_channels_and_texts_for_training_are_those_of_sampling(out, loaded):
    model, clip, _ = loaded
    positive, _, _ = told(loaded)
    _, mask = CASES["picture_and_mask"](*SIZE)
    mine = embedded.repaint_channels(model, positive[0][1]["concat_latent_image"], mask)
    assert torch.equal(out["channels"][:, :1], mine[:, :1])
    assert same(out["channels"], mine, 1e-5)
    assert same(out["encoded"], embedded.encode_text(clip, [PROMPT, "a left hand"]), 1e-5)


def test_what_does_not_fit_says_what_to_connect(out):
    def message(name):
        return bytes(out[f"error_{name}"].tolist()).decode()

    assert "Put InpaintModelConditioning between CLIP Text Encode and the sampler" in message(
        "plain"
    )
    assert "Expected text of 96 values per token; got 768" in message("text")
    assert "Connect the latent of the same InpaintModelConditioning" in message("latent")
