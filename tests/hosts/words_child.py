"""Cases of `test_comfy_words.py` inside ComfyUI: learned words in CLIPs as Load Checkpoint makes
them of SD1.5, SD2 and SDXL files, but small and with random weights.
"""

from types import SimpleNamespace

import comfy_boot as boot
import torch
from comfy_boot import TEXT, comfy_nodes, ours, run

import comfy.sd  # isort: skip
import comfy.supported_models as families  # isort: skip

host, lending = ours("hosts.comfy"), ours("hosts.lending")
new_adapter = ours("methods.person_adapter").new_adapter
FaceEmbedding = ours("methods.pva").FaceEmbedding
ParallelVisualAttention = ours("nodes.parallel_visual_attention").ParallelVisualAttention
PersonalizeFace = ours("nodes.personalize_face").PersonalizeFace
WORD, DIMENSION, SIZE = "<new1>", 16, 64
lending.SIDE = SIZE  # Personalize Face enlarges pictures to the model's own size, which takes long
LIKE = "woman"
out = {}


def small(width):
    sizes = {"hidden_size": width, "num_hidden_layers": 3, "num_attention_heads": 2}
    return {**sizes, "intermediate_size": 2 * width, "projection_dim": width}


def small_clip(family):
    widths = {"clip_l": TEXT, "clip_h": TEXT, "clip_g": 2 * TEXT}
    options = {f"{name}_model_config": small(width) for name, width in widths.items()}
    target = families.__dict__[family].clip_target(SimpleNamespace(), {})
    target.params = {}
    clip = comfy.sd.CLIP(target, embedding_directory=[], model_options=options)
    generator = torch.Generator().manual_seed(3)
    for name, p in clip.cond_stage_model.named_parameters():
        fan = p.shape[-1] if p.ndim > 1 else 1
        p.data = torch.randn(p.shape, generator=generator) / fan**0.5
        if p.ndim == 1:
            p.data = torch.ones_like(p) if name.endswith("weight") else torch.zeros_like(p)
    return clip


def embedding(clip, said=LIKE):
    """A known word's own vector, of all the text encoders."""
    parts = []
    for name in ("clip_l", "clip_h", "clip_g"):
        if hasattr(clip.tokenizer, name):
            number = getattr(clip.tokenizer, name).tokenizer(said)["input_ids"][1]
            encoder = getattr(clip.cond_stage_model, name)
            parts.append(encoder.transformer.get_input_embeddings().weight[number].detach())
    return torch.cat(parts).float()


def say(clip, text):
    with torch.inference_mode():
        return comfy_nodes.CLIPTextEncode().encode(clip, text)[0][0][0]


PROMPTS = {
    "plain": "photo of a {} person",
    "weighted": "photo of a ({}:1.4) person, (smiling)",
    "glued": "{}, laughing,{}",
    "long": "a hat, " * 24 + "{} and much more, " * 4,
}
clips = {
    name: small_clip(family) for name, family in (("1", "SD15"), ("2", "SD20"), ("xl", "SDXL"))
}
for name, clip in clips.items():
    assert host.knows_words(clip)
    known = host.with_words(clip, {WORD: embedding(clip)})
    for prompt, text in PROMPTS.items():
        out[f"{name}_{prompt}_word"] = say(known, text.replace("{}", WORD))
        out[f"{name}_{prompt}_like"] = say(clip, text.replace("{}", LIKE))
    out[f"{name}_without"] = say(clip, PROMPTS["plain"].replace("{}", WORD))
    again = host.with_words(known, {WORD: embedding(clip, "man"), "<two>": embedding(clip)})
    out[f"{name}_again"] = say(again, "a <new1> and a <two>")
    out[f"{name}_again_like"] = say(clip, "a man and a woman")
    skipping = comfy_nodes.CLIPSetLastLayer().set_last_layer(known, -3)[0]
    out[f"{name}_layer"] = say(skipping, PROMPTS["plain"].replace("{}", WORD))
    like = comfy_nodes.CLIPSetLastLayer().set_last_layer(clip, -3)[0]
    out[f"{name}_layer_like"] = say(like, PROMPTS["plain"].replace("{}", LIKE))

    # Gradients, inside a graph, and the slope along them
    texts = [PROMPTS["plain"].replace("{}", WORD)] * 2 + ["a face"]
    with torch.inference_mode():
        start = embedding(clip)
        with torch.inference_mode(False), torch.enable_grad():
            word = start.clone().requires_grad_(True)
            said = host.encode_text(clip, texts, {WORD: word})
            measure = torch.randn(said.shape, generator=torch.Generator().manual_seed(4))
            (said * measure).sum().backward()
            direction = word.grad / word.grad.norm()
        above, below = (
            (host.encode_text(clip, texts, {WORD: start + step * direction}) * measure).sum()
            for step in (0.01, -0.01)
        )
    out[f"{name}_slope"] = torch.stack([word.grad.norm(), (above - below) / 0.02])
    out[f"{name}_trained"], out[f"{name}_trained_plain"] = said.detach()[0], said.detach()[2]
    out[f"{name}_face"] = say(clip, "a face")

# The nodes, on a small inpainting checkpoint


class Pixels:
    """Stands for a VAE: mean colours of 8 x 8 pixels."""

    def encode(self, pictures):
        x = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), 8)
        return torch.cat([x, x.mean(1, keepdim=True)], 1) * 8 - 4

    def decode(self, latents):
        return (
            latents[:, :3].movedim(1, -1).sigmoid().repeat_interleave(8, 1).repeat_interleave(8, 2)
        )


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


model = boot.plain_model(channels=9)
torch.manual_seed(0)
with torch.inference_mode():
    plain = new_adapter(lending.layers(host, model), "SD1.5", "net", DIMENSION)
adapter = plain.with_tensors({"word": embedding(clips["1"])})
vectors = random(1, 3, 1, DIMENSION)
faces = torch.zeros(3, SIZE, SIZE)
faces[:, 20:44, 20:44] = 1
person = FaceEmbedding(
    vectors, vectors.flip(-1), "net", random(2, 3, SIZE, SIZE, 3).sigmoid(), faces
)


def tune(start, clip=clips["1"]):
    options = {"faces": person, "steps": 2, "learning_rate": 1e-4, "seed": 3}
    return run(PersonalizeFace, model=model, clip=clip, vae=Pixels(), adapter=start, **options)[0]


tuned = tune(adapter)
out["start"], out["tuned"] = adapter.word, tuned.word
out["wordless"] = torch.tensor("word" in tune(plain).tensors)
given = {"model": model, "adapter": tuned, "clip": clips["1"]}
out["by_node"] = say(run(ParallelVisualAttention, **given)[1], PROMPTS["plain"].replace("{}", WORD))
by_hand = host.with_words(clips["1"], {WORD: tuned.word})
out["by_hand"] = say(by_hand, PROMPTS["plain"].replace("{}", WORD))


def message(function):
    try:
        with torch.inference_mode():
            function()
    except ValueError as error:
        return torch.tensor(list(str(error).encode()), dtype=torch.uint8)
    raise AssertionError("expected a ValueError")


flux = clips["xl"].clone()
flux.tokenizer = SimpleNamespace(
    clip_l=clips["1"].tokenizer.clip_l, t5xxl=clips["1"].tokenizer.clip_l
)
assert not host.knows_words(flux)
out["error_flux"] = message(lambda: host.with_words(flux, {WORD: adapter.word}))
out["error_width"] = message(lambda: host.with_words(clips["xl"], {WORD: adapter.word}))
boot.save(out)
