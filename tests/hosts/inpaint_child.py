"""Runs inside ComfyUI's interpreter, see comfy_boot.py: an inpainting model with a text encoder.

Samples and trains every case of `test_comfy_inpaint.py` and writes what came out.
"""

import gc
from pathlib import Path

import comfy_boot as boot
import torch
from comfy_boot import comfy_nodes, ours
from inpaint_cases import CROPPED, PROMPT, SIZE, picture_and_mask, training_batch

host = ours("hosts.comfy")
Method = ours("methods.site").Method

with torch.inference_mode():
    model, clip, vae = host.load_inpaint_model(Path(boot.MODEL_FILE))
out = {}


def told(prompt=PROMPT, size=SIZE, noise_mask=True, use=clip, batch=1):
    """positive, negative, latent as the core nodes make them."""
    picture, mask = picture_and_mask(*size)
    with torch.inference_mode():
        both = [comfy_nodes.CLIPTextEncode().encode(use, text)[0] for text in (prompt, "")]
        return comfy_nodes.InpaintModelConditioning().encode(
            *both, picture.repeat(batch, 1, 1, 1), vae, mask, noise_mask
        )


def paint(given, patched=None, **options):
    return boot.sample(model if patched is None else patched, *given, **options)


# What the core nodes make of prompt, picture and mask
for name, size in (("whole", SIZE), ("cropped", CROPPED)):
    positive, _, latent = told(size=size)
    out[f"{name}_picture"] = positive[0][1]["concat_latent_image"]
    out[f"{name}_mask"] = positive[0][1]["concat_mask"]
    out[f"{name}_start"] = latent["samples"]
    out[f"{name}_sampled"] = paint((positive, *told(size=size)[1:]))
positive, negative, latent = given = told()
out["text"], out["no_text"] = positive[0][0], negative[0][0]
out["word_ids"] = torch.tensor(
    [number for _, _, number in clip.tokenize(PROMPT, return_word_ids=True)["words"][0]]
)
out["text_of_clone"] = told(use=clip.clone())[0][0][0]
with torch.inference_mode():
    skipping = comfy_nodes.CLIPSetLastLayer().set_last_layer(clip, -2)[0]
    out["text_of_last_layer"] = told(use=skipping)[0][0][0]
    longer = comfy_nodes.ConditioningConcat().concat(positive, negative)[0]
    both = comfy_nodes.ConditioningCombine().combine(positive, negative)[0]

# Sampling
out["decoded"] = vae.decode(out["whole_sampled"])
out["other_text"] = paint(told("a left hand"))
out["unguided"] = paint(given, cfg=1.0)
out["without_noise_mask"] = paint(told(noise_mask=False))
out["batch"] = paint(told(batch=2))
out["longer_text"] = paint((longer, negative, latent))
out["combined"] = paint((both, negative, latent))
repeated = comfy_nodes.RepeatLatentBatch().repeat(latent, 2)[0]
out["repeated"] = paint((positive, negative, repeated))

# LoRAs on UNet and text encoder
keys = {
    "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": 0.5,
    "diffusion_model.input_blocks.0.0.weight": 0.2,
}
state = model.model.state_dict()
changed = model.clone()
assert set(
    changed.add_patches({k: ("diff", (torch.randn(state[k].shape) * s,)) for k, s in keys.items()})
) == set(keys)
words = clip.clone()
embedding = clip.cond_stage_model.words.embed.weight
more = {"words.embed.weight": ("diff", (torch.randn(embedding.shape) * 0.3,))}
assert words.add_patches(more) == ["words.embed.weight"]
out["lora"] = paint(given, changed)
out["text_with_lora"] = told(use=words)[0][0][0]
out["text_again"] = told()[0][0][0]

# Training inside inference mode, with and without weights that were patched there


class Added(Method):
    """Adds a learned vector to the output of every cross-attention."""

    kinds = ("cross",)

    def __init__(self):
        self.vectors = {}

    def output(self, n_in, n_out, site):
        width = n_out.shape[-1]
        if width not in self.vectors:
            self.vectors[width] = torch.zeros(width, requires_grad=True)
        return n_out + self.vectors[width]


def train(patched, name):
    batch, method = training_batch(), Added()
    with torch.inference_mode():
        inside = {key: t.clone() for key, t in batch.items()}
        with host.differentiable(patched) as predict:
            word = torch.zeros(96, requires_grad=True)
            text = host.encode_text(clip, ["a <new1> face", "hair"], {"<new1>": word})
            x0 = predict(inside["x"], inside["sigma"], text, inside["concat"], [method])
            x0.square().mean().backward()
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
    out[f"{name}_x0"] = x0.detach()
    out[f"{name}_word"] = word.grad
    for width, vector in method.vectors.items():
        out[f"{name}_grad_{width}"] = vector.grad


train(model, "train")
out["lora_before_training"] = paint(given, changed)
loaded = changed.model.get_parameter(next(iter(keys)))
out["patched_inside"] = torch.tensor(loaded.is_inference())
train(changed, "train_lora")
out["restored"] = torch.tensor(changed.model.get_parameter(next(iter(keys))) is loaded)
for layer, rooms in host.cross_attention_weights(changed).items():
    for room, weight in rooms.items():
        out[f"weight_{layer}_{room}"] = weight
picture, mask = picture_and_mask(*SIZE)
with torch.inference_mode():
    out["channels"] = host.repaint_channels(model, positive[0][1]["concat_latent_image"], mask)
    out["encoded"] = host.encode_text(clip, [PROMPT, "a left hand"])
out["sampled_again"] = paint(given)


def message(function):
    try:
        function()
    except ValueError as error:
        return torch.tensor(list(str(error).encode()), dtype=torch.uint8)
    raise AssertionError("expected a ValueError")


def plain():
    with torch.inference_mode():
        text = comfy_nodes.CLIPTextEncode().encode(clip, PROMPT)[0]
    return paint((text, text, {"samples": torch.zeros(1, 12, 16, 16)}))


def foreign_text():
    return paint(([[torch.zeros(1, 77, 768), positive[0][1]]], negative, latent))


def other_latent():
    return paint((positive, negative, {"samples": torch.zeros(1, 12, 8, 16)}))


out["error_plain"] = message(plain)
out["error_text"] = message(foreign_text)
out["error_latent"] = message(other_latent)
gc.collect()
boot.save(out)
