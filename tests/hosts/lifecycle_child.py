"""Cases of `test_comfy_lifecycle.py` inside ComfyUI: dtypes, little VRAM, unloading, release."""

import gc
import weakref

import comfy_boot as boot
import torch
from comfy_boot import person_model, run, sample

import comfy.model_management as management  # isort: skip

H, W = 128, 96
ReferenceEncoder = boot.ours("nodes.reference_encoder").ReferenceEncoder
PersonConditioning = boot.ours("nodes.person_conditioning").PersonConditioning
FlowGuidedAttention = boot.ours("nodes.flow_guided_attention").FlowGuidedAttention
reference_key = boot.ours("hosts.comfy_weights").REFERENCE

picture = torch.rand(1, H, W, 3, generator=torch.Generator().manual_seed(0))
options = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "record_flow": True}


def make():
    """MODEL with the node on it, FLOW, and what a sampler needs."""
    model, vae = person_model()
    pose = boot.dense_pose(H, W, 2)
    given = {"image": picture, "dense_pose": pose}
    reference = run(ReferenceEncoder, model, vae, **given)[0]
    conditioning = run(PersonConditioning, model, vae, dense_pose=pose)[:3]
    looking, flow = run(FlowGuidedAttention, model, reference=reference, **options)
    return looking, flow, conditioning


def loaded_names() -> list[type]:
    return [type(m.model) for m in management.current_loaded_models]


looking, flow, conditioning = make()
out = {"looking": sample(looking, *conditioning), "flow": flow.field().xy}
main, second = looking, looking.get_additional_models_with_key(reference_key)[0]
out["dtype"] = torch.tensor([p.element_size() for p in main.model.diffusion_model.parameters()][:1])
if not boot.FLAGS:
    loaded = [m.model for m in management.current_loaded_models]
    out["both_loaded"] = torch.tensor(
        any(m.is_clone(main) for m in loaded) and any(m.is_clone(second) for m in loaded)
    )
    del loaded

    management.unload_all_models()
    out["none_loaded"] = torch.tensor(len(management.current_loaded_models) == 0)
    out["after_unloading"] = sample(looking, *conditioning)

    # As on a GPU with hardly any memory: the weights stay where they are and are cast per layer.
    management.unload_all_models()
    normal = management.is_device_cpu, management.vram_state
    management.is_device_cpu = lambda device: False
    management.vram_state = management.VRAMState.NO_VRAM
    out["novram"] = sample(looking, *conditioning)
    kept = [m for m in management.current_loaded_models if m.model.is_clone(second)]
    out["reference_offloaded"] = torch.tensor(
        bool(kept) and kept[0].model_loaded_memory() < kept[0].model_memory() / 2
    )
    del kept
    management.unload_all_models()
    management.is_device_cpu, management.vram_state = normal
    out["after_novram"] = sample(looking, *conditioning)

    # A second MODEL of the same file must not disturb the first.
    other = make()
    out["second_copy"] = sample(other[0], *other[2])
    out["first_after_second"] = sample(looking, *conditioning)

    methods = looking.model_options["transformer_options"][boot.ours("hosts.comfy").METHODS]
    watched = [weakref.ref(thing) for thing in (main, main.model, second.model, flow)]
    watched += [weakref.ref(method) for method in methods.methods]
    watched += [weakref.ref(method.reference) for method in methods.methods]
    del looking, flow, conditioning, main, second, methods, other
    gc.collect()
    management.cleanup_models_gc()
    gc.collect()
    out["released"] = torch.tensor([ref() is None for ref in watched])
    out["still_loaded"] = torch.tensor(len(management.current_loaded_models))
boot.save(out)
