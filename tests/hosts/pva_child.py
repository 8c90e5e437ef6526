"""Runs inside ComfyUI's interpreter, see comfy_boot.py: parallel visual attention.

Samples and tunes every case of `test_comfy_pva.py` and writes what came out.
"""

from pathlib import Path

import comfy_boot as boot
import torch
from comfy_boot import comfy_nodes, ours, run
from pva_cases import PROMPT, person, picture_and_mask, shaken

import comfy.ldm.modules.attention as attention  # isort: skip

host, lending = ours("hosts.comfy"), ours("hosts.lending")
FaceEmbedding = ours("methods.pva").FaceEmbedding
personalize = ours("methods.personalize")
ParallelVisualAttention = ours("nodes.parallel_visual_attention").ParallelVisualAttention
PersonalizeFace = ours("nodes.personalize_face").PersonalizeFace

with torch.inference_mode():
    model, clip, vae = host.load_inpaint_model(Path(boot.MODEL_FILE))
    adapter = shaken(ours("methods.person_adapter").new_adapter, lending.layers(host, model))
faces, others = (person(FaceEmbedding, seed) for seed in (1, 2))
out = {}


def told(use=clip, batch=1):
    picture, mask = picture_and_mask()
    with torch.inference_mode():
        both = [comfy_nodes.CLIPTextEncode().encode(use, text)[0] for text in (PROMPT, "")]
        return comfy_nodes.InpaintModelConditioning().encode(
            *both, picture.repeat(batch, 1, 1, 1), vae, mask, True
        )


def patched(on=model, use=adapter, **inputs):
    return run(ParallelVisualAttention, model=on, adapter=use, **{"faces": faces, **inputs})[0]


def paint(on, given=None, **options):
    return boot.sample(on, *(given or told()), **options)


out["base"] = paint(model)
out["off"] = paint(patched(strength=0.0))
out["never"] = paint(patched(start_percent=1.0, end_percent=1.0), steps=3)
out["on"] = paint(patched())
out["half"] = paint(patched(strength=0.5))
out["everywhere"] = paint(patched(in_negative=True))
out["coarse"] = paint(patched(layers="coarse"))
out["two"] = paint(patched(patched(), faces=others))
out["batch"] = paint(patched(), told(batch=2))
out["unguided"] = paint(patched(), cfg=1.0)
known = run(ParallelVisualAttention, model=model, adapter=adapter, faces=faces, clip=clip)[1]
out["word"] = told(use=known)[0][0][0]
out["no_word"] = told()[0][0][0]
out["base_again"] = paint(model)

# A neighbour that adds to the cross-attention, as IPAdapter's nodes do, before and after ours


def adding(q, k, v, extra):
    said = attention.optimized_attention(q, k, v, extra["n_heads"])
    return said + 0.3 * q


def neighboured(on):
    return_value = on.clone()
    for place in (("input", 4), ("output", 3), ("middle", 0)):
        return_value.set_model_attn2_replace(adding, *place)
    return return_value


out["neighbour"] = paint(neighboured(model))
out["neighbour_before"] = paint(patched(neighboured(model)))
out["neighbour_after"] = paint(neighboured(patched()))

# An attention chosen for one model: the text-only rows of our layers ask for it too
asked = []


def chosen(function, *args, **options):
    asked.append(args[1].shape[-2])
    return function(*args, **options)


choosing = patched()
choosing.model_options["transformer_options"]["optimized_attention_override"] = chosen
out["chosen"] = paint(choosing)
out["asked_for_text"] = torch.tensor(sum(keys == 48 for keys in asked))

# A LoRA on the cross-attention's own keys
key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
weight = model.model.state_dict()[key]
lora = model.clone()
lora.add_patches({key: ("diff", (torch.randn(weight.shape) * 0.5,))})
out["lora"] = paint(lora)
out["lora_on"] = paint(patched(lora))

# Forty steps are five here
tuned = run(
    PersonalizeFace,
    model=model,
    clip=clip,
    vae=vae,
    adapter=adapter,
    faces=faces,
    steps=5,
    learning_rate=1e-3,
    seed=3,
)[0]
for name, t in tuned.tensors.items():
    out[f"tuned_{name}"] = t
out["tuned"] = paint(run(ParallelVisualAttention, model=model, adapter=tuned)[0])
out["base_at_last"] = paint(model)
boot.save(out)
