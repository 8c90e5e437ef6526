"""Samples every case of `test_comfy_composition.py` inside ComfyUI; see comfy_boot.py."""

import gc
import tempfile
from pathlib import Path

import comfy_boot as boot
import torch
from comfy_boot import core, person_model, run, sample
from safetensors.torch import save_file

import comfy.cldm.cldm  # isort: skip
import comfy.controlnet  # isort: skip
import comfy.model_management  # isort: skip
import comfy.ops  # isort: skip
import comfy.sd  # isort: skip
import comfy.utils  # isort: skip
import folder_paths  # isort: skip
import nodes as comfy_nodes  # isort: skip

H, W = 128, 96
ReferenceEncoder = boot.ours("nodes.reference_encoder").ReferenceEncoder
PersonConditioning = boot.ours("nodes.person_conditioning").PersonConditioning
FlowGuidedAttention = boot.ours("nodes.flow_guided_attention").FlowGuidedAttention
rng = torch.Generator().manual_seed(0)
model, vae = person_model()


def reference_of(image, pose):
    return run(ReferenceEncoder, model, vae, image=image, dense_pose=pose)[0]


reference = reference_of(torch.rand(1, H, W, 3, generator=rng), boot.dense_pose(H, W, 2))
another = reference_of(torch.rand(1, H, W, 3, generator=rng), boot.dense_pose(H, W, 5))
pose = boot.dense_pose(H, W, 2)
other_pose = boot.dense_pose(H, W, 9)
positive, negative, latent, _ = run(PersonConditioning, model, vae, dense_pose=pose)


def attend(source, ref=reference, strength=1.0, record=False):
    """MODEL and FLOW of Flow-Guided Attention."""
    return run(
        FlowGuidedAttention,
        source,
        reference=ref,
        strength=strength,
        start_percent=0.0,
        end_percent=1.0,
        record_flow=record,
    )


def paint(source, **options):
    given = {"positive": positive, "negative": negative, "latent": latent, **options}
    return sample(source, **given)


def looking(source):
    return attend(source)[0]


def lora_file(folder: Path, naming: str) -> str:
    """A LoRA on every self-attention, and on cross-attention, which a person model has not."""
    template = "{}.lora_{}.weight" if naming == "kohya" else "unet.{}.lora_{}.weight"
    lora, generator = {}, torch.Generator().manual_seed(5)
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    weights = model.model.diffusion_model.state_dict()
    for theirs, mine in names.items():
        layer = theirs.removesuffix(".weight")
        if ".attn" not in layer or not theirs.endswith(".weight"):
            continue
        out, inside = weights[mine].shape[:2] if mine in weights else (32, 32)
        if naming == "kohya":
            layer = "lora_unet_" + layer.replace(".", "_")
        else:
            layer = layer.replace(".to_", ".processor.to_").removesuffix(".0")
        up, down = ("up", "down")
        lora[template.format(layer, up)] = torch.randn(out, 4, generator=generator) * 0.1
        lora[template.format(layer, down)] = torch.randn(4, inside, generator=generator)
        if naming == "kohya":
            lora[f"{layer}.alpha"] = torch.tensor(4.0)
    name = f"{naming}.safetensors"
    save_file(lora, folder / name)
    return name


def with_lora(source, name, strength=1.0):
    loader = comfy_nodes.LoraLoaderModelOnly()
    return loader.load_lora_model_only(source, name, strength)[0]


def control_net():
    """A ControlNet that fits the person model, with random weights."""
    network = comfy.cldm.cldm.ControlNet(
        image_size=32,
        in_channels=12,
        model_channels=32,
        hint_channels=3,
        num_res_blocks=[1, 1, 1],
        channel_mult=[1, 2, 3],
        transformer_depth=[0, 1, 1],
        transformer_depth_middle=1,
        context_dim=32,
        num_head_channels=32,
        use_spatial_transformer=True,
        operations=comfy.ops.manual_cast,
    )
    generator = torch.Generator().manual_seed(6)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(network.requires_grad_(False), load_device=device)


def controlled(strength=1.0):
    """Positive and negative with the ControlNet applied."""
    hint = torch.rand(1, H, W, 3, generator=torch.Generator().manual_seed(8))
    apply = comfy_nodes.ControlNetApplyAdvanced().apply_controlnet
    return apply(positive, negative, control_net(), hint, strength, 0.0, 1.0)


def parameters_of(patcher):
    return {key: t.clone() for key, t in patcher.model.state_dict().items()}


out = {"plain": paint(attend(model, strength=0.0)[0]), "looking": paint(looking(model))}
before = parameters_of(model)

# LoRA
folder = Path(tempfile.mkdtemp())
folder_paths.add_model_folder_path("loras", str(folder))
for naming in ("kohya", "diffusers"):
    name = lora_file(folder, naming)
    out[f"lora_{naming}_before"] = paint(looking(with_lora(model, name)))
    out[f"lora_{naming}_after"] = paint(with_lora(looking(model), name))
out["lora_strength_0"] = paint(with_lora(looking(model), name, 0.0))
stored = comfy.utils.load_torch_file(str(folder / name))
out["lora_patched_at_0"] = paint(
    comfy.sd.load_lora_for_models(looking(model), None, stored, 0, 0)[0]
)
out["lora_alone"] = paint(attend(with_lora(model, name), strength=0.0)[0])
recorded, flow = attend(model, record=True)
paint(with_lora(recorded, name))
out["flow_under_lora"] = flow.field().xy
out["looking_after_lora"] = paint(looking(model))
comfy.model_management.unload_all_models()
after = parameters_of(model)
out["weights_restored"] = torch.tensor(
    before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
)

# ControlNet
both = dict(zip(("positive", "negative"), controlled(), strict=True))
out["control"] = paint(looking(model), **both)
out["control_alone"] = paint(attend(model, strength=0.0)[0], **both)
out["control_strength_0"] = paint(
    looking(model), **dict(zip(("positive", "negative"), controlled(0.0), strict=True))
)
out["control_and_lora"] = paint(with_lora(looking(model), name), **both)

# A batch of two, and its two pictures alone
rows = run(PersonConditioning, model, vae, dense_pose=torch.cat([pose, other_pose]))
singles = [rows[2]["samples"][:1]] * 2
out["batch"] = sample(looking(model), *rows[:2], {**rows[2], "batch_index": [0, 1]})
for i, target in enumerate((pose, other_pose)):
    alone = run(PersonConditioning, model, vae, dense_pose=target)
    out[f"single_{i}"] = sample(looking(model), *alone[:2], {**alone[2], "batch_index": [i]})

# Two of our nodes, each with its own reference
out["looking_at_another"] = paint(attend(model, another)[0])
CASES = {
    "stacked": {"a": (reference, 1.0, False), "b": (another, 1.0, False)},
    "one_scaled": {"a": (reference, 0.4, False), "b": (another, 1.0, False)},
    "both_scaled": {"a": (reference, 0.4, False), "b": (another, 1.6, False)},
    "one_recorded": {"a": (reference, 1.0, True), "b": (another, 1.0, False)},
    "both_recorded": {"a": (reference, 1.0, True), "b": (another, 1.0, True)},
}
for case, nodes in CASES.items():
    for order in ("ab", "ba"):
        stacked, flows = model, {}
        for which in order:
            stacked, flows[which] = attend(stacked, *nodes[which])
        out[f"{case}_{order}"] = paint(stacked)
        for which in order:
            if nodes[which][2]:
                out[f"{case}_{order}_flow_{which}"] = flows[which].field().xy
        if case == "one_scaled":
            out[f"one_scaled_{order}_lora"] = paint(with_lora(stacked, name))

# Merging
second = person_model()[0]
with torch.no_grad():
    for parameter in second.model.diffusion_model.parameters():
        parameter += 0.02 * torch.randn(parameter.shape, generator=rng)
merge = core("nodes_model_merging.ModelMergeSimple")().merge
for ratio in (0.0, 0.5, 1.0):
    out[f"merged_{ratio}"] = paint(looking(merge(model, second, ratio)[0]))
    out[f"merged_{ratio}_after"] = paint(merge(looking(model), second, ratio)[0])
out["second"] = paint(looking(second))

# Latents outside the painted part
mask = torch.zeros(1, H, W)
mask[:, 32:96, 24:72] = 1
picture = torch.rand(1, H, W, 3, generator=rng)
masked = run(PersonConditioning, model, vae, dense_pose=pose, person=picture, garment_mask=mask)
out["masked"] = sample(looking(model), *masked[:3])
out["masked_with_lora"] = sample(with_lora(looking(model), name), *masked[:3])
out["masked_start"] = masked[2]["samples"]

# A neighbour that replaces cross-attention, which a person model has not
replaced = looking(model).clone()
replaced.set_model_attn2_replace(lambda q, k, v, extra: v, "middle", 0)
try:
    paint(replaced)
except ValueError as error:
    out["refused"] = torch.tensor(list(str(error).encode()), dtype=torch.uint8)

gc.collect()
out["plain_again"] = paint(attend(model, strength=0.0)[0])
out["looking_again"] = paint(looking(model))
boot.save(out)
