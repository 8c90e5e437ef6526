"""Cases of `test_comfy_attention.py` inside ComfyUI: whose attention runs; see comfy_boot.py."""

import comfy_boot as boot
import torch
from comfy_boot import person_model, run, sample

import comfy.ldm.modules.attention as attention  # isort: skip

H, W = 128, 96
kernels = boot.ours("kernels")
eager = boot.ours("kernels.eager")
registry = boot.ours("kernels.backends").REGISTRY
ReferenceEncoder = boot.ours("nodes.reference_encoder").ReferenceEncoder
PersonConditioning = boot.ours("nodes.person_conditioning").PersonConditioning
FlowGuidedAttention = boot.ours("nodes.flow_guided_attention").FlowGuidedAttention
rng = torch.Generator().manual_seed(0)
chosen, calls = attention.optimized_attention, []


def users_choice(q, k, v, heads, *rest, **options):
    """Stands where ComfyUI puts sage, flash or xformers attention."""
    calls.append((q.shape[-2], k.shape[-2]))
    return chosen(q, k, v, heads, *rest, **options)


model, vae = person_model()
attention.optimized_attention = users_choice
q, k, v, k_ref, v_ref = (torch.randn(2, 3, n, 8, generator=rng) for n in (5, 6, 6, 7, 7))
own, others, weights = (q, k, v), (q, k_ref, v_ref), torch.rand(2, 5, 2, generator=rng)
CALLS = {
    "plain": lambda m: m.joint_attention([own]),
    "reference": lambda m: m.reference_attention(*own, k_ref, v_ref)[0],
    "joint": lambda m: m.joint_attention([own, others]),
    "mixture": lambda m: m.mixture_attention([own, others], weights),
    "moments": lambda m: m.reference_attention(*own, k_ref, v_ref, torch.ones(7, 1))[0],
    "strength": lambda m: m.reference_attention(*own, k_ref, v_ref, None, 0.5)[0],
    "queries": lambda m: m.joint_attention([own, (q + 1, k_ref, v_ref)]),
    "flow": lambda m: m.flow_of_attention(q, k_ref, torch.rand(7, 2)).isfinite().float(),
}
out = {}
for name, call in CALLS.items():
    calls.clear()
    out[f"{name}_ours"], seen = call(kernels), list(calls)
    out[f"{name}_exact"] = call(eager)
    out[f"{name}_calls"] = torch.tensor(seen).view(-1, 2)

pose = boot.dense_pose(H, W, 2)
picture = torch.rand(1, H, W, 3, generator=rng)
reference = run(ReferenceEncoder, model, vae, image=picture, dense_pose=pose)[0]
conditioning = run(PersonConditioning, model, vae, dense_pose=pose)[:3]
for name, options in {
    "looking": {"strength": 1.0, "record_flow": False},
    "recording": {"strength": 1.0, "record_flow": True},
}.items():
    looking, _ = run(
        FlowGuidedAttention,
        model,
        reference=reference,
        start_percent=0.0,
        end_percent=1.0,
        **options,
    )
    calls.clear()
    out[name] = sample(looking, *conditioning)
    out[f"{name}_longer"] = torch.tensor(sum(keys > queries for queries, keys in calls))


def broken(*args, **options):
    raise RuntimeError("unsupported head dimension")


attention.optimized_attention = broken
out["after_failing"] = kernels.joint_attention([own])
failure = registry.failed["comfy", "joint_attention", "forward"]
attention.optimized_attention = users_choice
calls.clear()
kernels.joint_attention([own])
out["asked_after_failing"] = torch.tensor(len(calls))
assert "unsupported head dimension" in failure, failure
boot.save(out)
