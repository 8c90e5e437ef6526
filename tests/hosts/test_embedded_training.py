"""What training inside a graph needs, on the embedded host."""

import pytest
import torch
from safetensors.torch import load_file

from mannequin.hosts import diffusers as host
from mannequin.lab.training import models
from mannequin.methods.site import Method, Step

C, L, WIDTH = 12, 48, 96


@pytest.fixture(scope="module")
def loaded(inpaint_file):
    return host.load_inpaint_model(inpaint_file)


class Added(Method):
    """Adds a learned vector to the output of every cross-attention."""

    kinds = ("cross",)

    def __init__(self) -> None:
        self.vectors: dict[int, torch.Tensor] = {}
        self.steps: list[Step] = []

    def output(self, n_in, n_out, site):
        self.steps.append(site.step)
        width = n_out.shape[-1]
        if width not in self.vectors:
            self.vectors[width] = torch.zeros(width, requires_grad=True)
        return n_out + self.vectors[width]


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    return {
        "x": torch.randn(2, C, 16, 16, generator=g) * 3,
        "sigma": torch.tensor([0.7, 40.0]),
        "text": torch.randn(2, L, WIDTH, generator=g),
        "concat": torch.rand(1, 1 + C, 16, 16, generator=g),
    }


def test_predictions_are_those_of_sampling_each_row_at_its_own_noise_level(loaded, batch):
    model = loaded[0]
    with host.differentiable(model) as predict:
        together = predict(**batch, methods=[]).detach()
    for i, sigma in enumerate(batch["sigma"].tolist()):
        step = Step(sigma, 0.0, 0, 1, (True,))
        row = slice(i, i + 1)
        with torch.inference_mode():
            alone = model.predict(batch["x"][row], sigma, step, batch["concat"], batch["text"][row])
        torch.testing.assert_close(together[row], alone, atol=1e-4, rtol=1e-4)


def test_gradients_reach_a_methods_parameters_inside_inference_mode(loaded, batch):
    model, method = loaded[0], Added()
    with torch.inference_mode():
        made_inside = {name: t.clone() for name, t in batch.items()}
        assert made_inside["x"].is_inference()
        with host.differentiable(model) as predict:
            out = predict(**made_inside, methods=[method])
            out.square().mean().backward()
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
    assert set(method.vectors) == {48, 96, 128}
    assert all(v.grad.abs().sum() > 0 for v in method.vectors.values())
    step = method.steps[0]
    assert step.conditional == (True, True) and step.sigma == pytest.approx(20.35)
    assert all(p.grad is None and not p.requires_grad for p in model.unet.unet.parameters())


def test_a_gradient_is_the_slope(loaded, batch):
    model, method, h = loaded[0], Added(), 1e-2

    def loss(predict):
        return predict(**batch, methods=[method]).square().mean()

    with host.differentiable(model) as predict:
        loss(predict).backward()
        vector = method.vectors[48]
        direction = vector.grad / vector.grad.norm()
        slope = float(vector.grad.norm())
        with torch.no_grad():
            vector += h * direction
            above = loss(predict)
            vector -= 2 * h * direction
            below = loss(predict)
    assert float(above - below) / (2 * h) == pytest.approx(slope, rel=0.02)


def test_nothing_stays_behind(loaded, batch):
    model = loaded[0]
    before = [p.clone() for p in model.unet.unet.parameters()]
    step = Step(1.0, 0.0, 0, 1, (True, True))
    given = (batch["x"], 1.0, step, batch["concat"].expand(2, -1, -1, -1), batch["text"])
    with torch.inference_mode():
        plain = model.predict(*given)
    with pytest.raises(RuntimeError, match="on purpose"), host.differentiable(model) as predict:
        predict(**batch, methods=[Added()]).sum().backward()
        raise RuntimeError("on purpose")
    assert torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(plain, model.predict(*given))
    after = model.unet.unet.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_cross_attention_weights_are_the_files(loaded, inpaint_file):
    found = host.cross_attention_weights(loaded[0])
    stored = load_file(inpaint_file)
    assert len(found) == sum(name.endswith("attn2.to_q.weight") for name in stored)
    name = "unet.up_blocks.2.attentions.1.transformer_blocks.0.attn2"
    for room in ("to_q", "to_k", "to_v"):
        torch.testing.assert_close(found["up.2.1"][room], stored[f"{name}.{room}.weight"].float())
    assert found["mid.0"]["to_k"].shape == (128, 96)
    found["mid.0"]["to_k"].zero_()
    assert host.cross_attention_weights(loaded[0])["mid.0"]["to_k"].abs().sum() > 0


def test_a_person_model_has_no_cross_attention(tmp_path):
    model, _ = host.load_person_model(models.build(0, tmp_path / "person.safetensors"))
    assert host.cross_attention_weights(model) == {}


def test_encoded_text_is_that_of_clip_text_encode(loaded):
    clip = loaded[1]
    prompts = ["the face of a (young:1.2) woman", "a left hand"]
    together = host.encode_text(clip, prompts)
    for prompt, row in zip(prompts, together, strict=True):
        alone = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0]
        torch.testing.assert_close(row[None], alone, atol=1e-5, rtol=1e-5)


def test_a_learned_word_learns_through_the_text_encoder_and_the_network(loaded, batch):
    model, clip, _ = loaded
    with torch.inference_mode(), host.differentiable(model) as predict:
        word = torch.zeros(WIDTH, requires_grad=True)
        text = host.encode_text(clip, ["a face of <new1>", "hair"], {"<new1>": word})
        predict(batch["x"], batch["sigma"], text, batch["concat"], []).square().mean().backward()
    assert word.grad.abs().sum() > 0
