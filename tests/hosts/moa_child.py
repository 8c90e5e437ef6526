"""Cases of `test_comfy_moa.py` inside ComfyUI, see comfy_boot.py: several people in one scene, on
the tiny inpainting model and on small SD1.5 and SDXL checkpoints with random weights.

The router's file lies beside the model's.
"""

from pathlib import Path
from types import SimpleNamespace

import comfy_boot as boot
import torch
from comfy_boot import POOLED, TEXT, comfy_nodes, ours, run
from pva_cases import DIMENSION, person, picture_and_mask, shaken

import comfy.cldm.cldm  # isort: skip
import comfy.controlnet  # isort: skip
import comfy.model_management  # isort: skip
import comfy.ops  # isort: skip
import comfy.sd  # isort: skip
import comfy.supported_models as families  # isort: skip
import comfy.utils  # isort: skip
import folder_paths  # isort: skip

host, lending = ours("hosts.comfy"), ours("hosts.lending")
FaceEmbedding = ours("methods.pva").FaceEmbedding
adapters, identity = ours("methods.person_adapter"), ours("methods.identity")
Subject = ours("nodes.subject").Subject
MoARouter, RoutePreview = (
    ours("nodes.moa_router").MoARouter,
    ours("nodes.route_preview").RoutePreview,
)
UNTRAINED = ours("nodes.moa_router").UNTRAINED
PROMPT = "a scene of a man beside a woman"
out, notes = {}, {}


def small_clip(family):
    """A CLIP as Load Checkpoint makes it, with the real tokenizer, but small and random."""
    widths = {"clip_l": TEXT, "clip_h": TEXT, "clip_g": 2 * TEXT}
    options = {}
    for name, width in widths.items():
        sizes = {"hidden_size": width, "num_hidden_layers": 3, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 2 * width, "projection_dim": width}
        options[f"{name}_model_config"] = sizes
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


clips = {name: small_clip(name) for name in ("SD15", "SD20", "SDXL")}

# Where a word stands

SAID = {
    "plain": ("a woman beside a man", "man"),
    "weighted": ("a (woman:1.3), (smiling man)", "Man"),
    "two": ("an old man beside an old man", "old man"),
    "late": ("a hat, " * 40 + "a man", "man"),
    "inside": ("a zzqman beside a man", "man"),
    "none": ("a woman", "man"),
}
for name, clip in clips.items():
    for case, (prompt, word) in SAID.items():
        found = host.places(clip, prompt, word)
        out[f"places_{name}_{case}"] = torch.tensor(found or [[]], dtype=torch.long)
        rows = next(iter(clip.tokenize(prompt).values()))
        out[f"tokens_{name}_{case}"] = torch.tensor([token for row in rows for token, _ in row])
        out[f"length_{name}_{case}"] = torch.tensor(
            clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0].shape[1]
        )
out["man"] = torch.tensor(clips["SD15"].tokenizer.clip_l.tokenizer("man")["input_ids"][1])
try:
    host.places(SimpleNamespace(tokenizer=None, tokenize=lambda *a, **b: {"t5xxl": []}), "a", "a")
except ValueError as error:
    notes["t5"] = str(error)


def people(masks=(None, None), words=("man", "woman"), seeds=(1, 2)):
    chain = ()
    for word, seed, mask in zip(words, seeds, masks, strict=True):
        faces = person(FaceEmbedding, seed)
        chain = run(Subject, word=word, faces=faces, morph=0.5, mask=mask, others=chain)[0]
    return chain


def halves(height, width):
    """Masks of the left and the right half, with a gap between them."""
    left = torch.zeros(1, height, width)
    left[..., : width // 2 - width // 8] = 1
    return left, left.flip(-1)


def routed(model, clip, subjects, router=UNTRAINED, **inputs):
    given = {"prompt": PROMPT, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    given |= {"layers": "all", "temperature": 1.0, "record_routes": True, **inputs}
    return run(MoARouter, model=model, clip=clip, subjects=subjects, router=router, **given)


def say(clip, text):
    with torch.inference_mode():
        return comfy_nodes.CLIPTextEncode().encode(clip, text)[0]


# The tiny model, against the embedded host

with torch.inference_mode():
    tiny, tiny_clip, vae = host.load_inpaint_model(Path(boot.MODEL_FILE))
    adapter = shaken(adapters.new_adapter, lending.layers(host, tiny))
folder_paths.add_model_folder_path("mannequin_routers", str(Path(boot.MODEL_FILE).parent))
ROUTER = "random-moa.safetensors"


def tiny_paint(model, positive, cfg=2.5, batch=1):
    picture, mask = picture_and_mask()
    with torch.inference_mode():
        told = comfy_nodes.InpaintModelConditioning().encode(
            positive, say(tiny_clip, ""), picture.repeat(batch, 1, 1, 1), vae, mask, True
        )
        return boot.sample(model, *told, cfg=cfg)


def tiny_routed(masks=(None, None), use=ROUTER, **inputs):
    return routed(tiny, tiny_clip, people(masks), use, adapter=adapter, **inputs)


out["tiny"] = tiny_paint(tiny, say(tiny_clip, PROMPT))
both = halves(64, 64)
for case, made in {
    "trained_off": tiny_routed(strength=0.0),
    "trained": tiny_routed(),
    "trained_masks": tiny_routed(both),
    "trained_half": tiny_routed(strength=0.5, layers="coarse", temperature=0.5),
    "masks_off": tiny_routed(both, UNTRAINED, strength=0.0),
    "masks": tiny_routed(both, UNTRAINED),
    "attention": tiny_routed(use=UNTRAINED),
}.items():
    out[case] = tiny_paint(*made[:2])
    if "off" not in case:
        out[f"{case}_share"] = made[2].share(0)
out["trained_batch"] = tiny_paint(*tiny_routed()[:2], batch=2)
out["trained_unguided"] = tiny_paint(*tiny_routed()[:2], cfg=1.0)
out["tiny_again"] = tiny_paint(tiny, say(tiny_clip, PROMPT))

# Checkpoints

H, W = 64, 128
latent = {"samples": torch.zeros(1, 4, H // 8, W // 8)}
MASKS = halves(H, W)


def ip_adapter(model):
    """As an IP-Adapter plus file with random weights: numbered layers without queries."""
    torch.manual_seed(4)
    made = identity.Resampler(DIMENSION, 16, 64, TEXT, latents=4, depth=1)
    tensors = {f"image_proj.{name}": t.detach() for name, t in made.state_dict().items()}
    order = {"down": 0, "up": 1, "mid": 2}
    layers = lending.layers(host, model)
    names = sorted(layers, key=lambda n: (order[n.split(".")[0]], *map(int, n.split(".")[1:])))
    for number, name in enumerate(names):
        for room in ("to_k", "to_v"):
            shape = getattr(layers[name], room).shape
            tensors[f"ip_adapter.{2 * number + 1}.{room}_ip.weight"] = torch.randn(shape) / 2
    return adapters.image_prompt_adapter(tensors)


def described(model):
    """The people, as the network describes them that the adapter was trained with."""
    source = ip_adapter(model).config["embedding"]
    return tuple(
        type(one)(one.word, type(one.faces)(**{**vars(one.faces), "source": source}), one.mask)
        for one in people(MASKS)
    )


def pooled(conditioning):
    return [
        [text, {**more, "pooled_output": torch.zeros(1, POOLED)}] for text, more in conditioning
    ]


def lora_on(model):
    """A LoRA on every cross-attention's queries."""
    lora, generator = {}, torch.Generator().manual_seed(5)
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    weights = model.model.diffusion_model.state_dict()
    for theirs, mine in names.items():
        if theirs.endswith("attn2.to_q.weight") and mine in weights:
            layer = "lora_unet_" + theirs.removesuffix(".weight").replace(".", "_")
            rows, columns = weights[mine].shape
            lora[f"{layer}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) * 0.3
            lora[f"{layer}.lora_down.weight"] = torch.randn(4, columns, generator=generator)
            lora[f"{layer}.alpha"] = torch.tensor(4.0)
    return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0]


def control(positive, negative):
    network = comfy.cldm.cldm.ControlNet(
        image_size=32,
        in_channels=4,
        model_channels=32,
        hint_channels=3,
        num_res_blocks=[1, 1, 1],
        channel_mult=[1, 2, 4],
        transformer_depth=[1, 1, 0],
        transformer_depth_middle=1,
        context_dim=TEXT,
        num_heads=4,
        use_spatial_transformer=True,
        operations=comfy.ops.manual_cast,
    )
    generator = torch.Generator().manual_seed(6)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    device = comfy.model_management.get_torch_device()
    net = comfy.controlnet.ControlNet(network.requires_grad_(False), load_device=device)
    hint = torch.rand(1, H, W, 3, generator=torch.Generator().manual_seed(8))
    apply = comfy_nodes.ControlNetApplyAdvanced().apply_controlnet
    return apply(positive, negative, net, hint, 1.0, 0.0, 1.0)


clip = clips["SD15"]
for name, xl in (("sd15", False), ("sdxl", True)):
    model = boot.plain_model(xl=xl)
    use = ip_adapter(model)
    dress = pooled if xl else lambda conditioning: conditioning
    none, known = dress(say(clip, "")), described(model)

    def paint(model, positive, negative=none, dress=dress, **options):
        return boot.sample(model, dress(positive), negative, latent, **options)

    def moa(on=model, use=use, subjects=known, **inputs):
        return routed(on, clip, subjects, adapter=use, **inputs)

    out[f"{name}"] = paint(model, say(clip, PROMPT))
    out[f"{name}_off"] = paint(*moa(strength=0.0)[:2])
    patched, positive, routes = moa()
    out[f"{name}_on"] = paint(patched, positive)
    image = torch.zeros(1, H, W, 3)
    for who in (0, 1, 2):
        out[f"{name}_mask_{who}"] = run(
            RoutePreview, routes=routes, image=image, mode="people", subject=who
        )[1]
    free = tuple(type(one)(one.word, one.faces) for one in known)
    out[f"{name}_free"] = paint(*moa(subjects=free)[:2])
    out[f"{name}_again"] = paint(*moa()[:2])
    if xl:
        continue
    twice = [[torch.cat([none[0][0]] * 2, 1), none[0][1]]]
    out["sd15_long_negative"] = paint(patched, positive, twice)
    out["sd15_free_long_negative"] = paint(*moa(subjects=free)[:2], twice)
    out["sd15_lora_before"] = paint(*moa(on=lora_on(model))[:2])
    out["sd15_lora_after"] = paint(lora_on(patched), positive)
    out["sd15_lora"] = paint(lora_on(model), say(clip, PROMPT))
    out["sd15_control"] = paint(patched, *control(positive, none))
    out["sd15_control_alone"] = paint(model, *control(say(clip, PROMPT), none))
    pva = ours("nodes.parallel_visual_attention").ParallelVisualAttention
    faces = known[0].faces
    looks = run(pva, model=model, adapter=use, strength=1.0, faces=faces)[0]
    out["sd15_pva_before"] = paint(*moa(on=looks)[:2])
    out["sd15_pva_after"] = paint(
        run(pva, model=patched, adapter=use, strength=1.0, faces=faces)[0], positive
    )
    out["sd15_pva"] = paint(looks, say(clip, PROMPT))
boot.save(out, notes)
