"""Cases of `test_comfy_checkpoint_training.py` inside ComfyUI: gradients through checkpoints that
Load Checkpoint opens, SD1.5 inpainting and SDXL, small and with random weights.
"""

from types import SimpleNamespace

import comfy_boot as boot
import torch
from comfy_boot import POOLED, TEXT, ours

import comfy.model_base  # isort: skip

host = ours("hosts.comfy")
Method = ours("methods.site").Method
out = {}
g = torch.Generator().manual_seed(0)
x, sigma = torch.randn(2, 4, 8, 6, generator=g) * 3, torch.tensor([0.5, 9.0])
text = torch.randn(2, 7, TEXT, generator=g)
pooled = torch.randn(1, POOLED, generator=g)


class Doubled(Method):
    """Adds a learned multiple of its own output to every cross-attention, and notes the sites."""

    kinds = ("cross",)

    def __init__(self):
        self.more = torch.zeros((), requires_grad=True)
        self.layers = []

    def output(self, n_in, n_out, site):
        self.layers.append(site.layer)
        return n_out + self.more * n_out


def vector(model, pooled):
    return model.model.encode_adm(pooled_output=pooled, width=48, height=64, device=x.device)


def train(name, model, concat, **more):
    """Predictions, the derivative, and the same by ComfyUI itself without gradients."""
    method = Doubled()
    weights = list(model.model.parameters())
    asking = weights[0].requires_grad_(True)
    with torch.inference_mode(), host.differentiable(model) as predict:
        plain = predict(x, sigma, text, concat, [], **more)
        predict(x, sigma, text, concat, [method], **more).square().mean().backward()
        with torch.no_grad():
            method.more += 1e-3
            above = predict(x, sigma, text, concat, [method], **more).square().mean()
            method.more -= 2e-3
            below = predict(x, sigma, text, concat, [method], **more).square().mean()
    assert asking.requires_grad and asking.grad is None
    with torch.inference_mode():
        extra = {"y": vector(model, more["pooled"]).expand(2, -1)} if more else {}
        channels = None if concat is None else concat.expand(2, -1, -1, -1)
        options = {"cond_or_uncond": [0], "sigmas": sigma}
        theirs = model.model.apply_model(
            x, sigma, c_concat=channels, c_crossattn=text, transformer_options=options, **extra
        )
    out[f"{name}_ours"], out[f"{name}_theirs"] = plain.detach(), theirs
    out[f"{name}_slope"] = torch.stack([method.more.grad, (above - below).detach() / 2e-3])
    found = host.cross_attention_weights(model)
    assert sorted(found) == sorted(set(method.layers))
    for layer, rooms in found.items():
        out[f"{name}_{layer}"] = rooms["to_q"]


inpainting = boot.plain_model(channels=9)
picture, mask = torch.randn(1, 4, 8, 6, generator=g), torch.zeros(1, 64, 48)
mask[:, 16:40, 8:24] = 1
with torch.inference_mode():
    channels = host.repaint_channels(inpainting, picture, mask)
assert host.repaint_channels(boot.plain_model(), picture, mask) is None
out["channels"], out["scale"] = channels, torch.tensor(inpainting.model.latent_format.scale_factor)
out["picture"] = picture
assert host.model_config(inpainting)["prediction"] == "epsilon"
inpainting.model.model_type = comfy.model_base.ModelType.V_PREDICTION
assert host.model_config(inpainting)["prediction"] == "v"
train("sd15", inpainting, channels)
train("sdxl", boot.plain_model(xl=True), None, pooled=pooled)


# Texts of another CLIP, of two lengths


class Clip:
    """Stands for an SD1.5 CLIP: 77 tokens, or 154 for long prompts."""

    cond_stage_model = SimpleNamespace()

    def tokenize(self, text):
        return len(text)

    def encode_from_tokens(self, tokens):
        return torch.full((1, 77 if tokens < 9 else 154, 3), float(tokens))


with torch.inference_mode():
    out["texts"] = host.encode_text(Clip(), ["short", "rather long"])
    out["usable"] = torch.tensor(not out["texts"].is_inference())
try:
    host.differentiable(SimpleNamespace(model=SimpleNamespace())).__enter__()
except ValueError as error:
    out["error"] = torch.tensor(list(str(error).encode()), dtype=torch.uint8)
boot.save(out)
