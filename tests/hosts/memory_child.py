"""Measures `test_comfy_memory.py`'s cases inside ComfyUI: peak of the activations, and how much
memory ComfyUI was asked to keep free for them.
"""

import json
import tempfile
from pathlib import Path

import comfy_boot as boot
import torch
from comfy_boot import person_model, sample
from torch.profiler import ProfilerActivity, profile

import comfy.model_management as management  # isort: skip

CASES = {  # latent h and w, pictures in the batch, references and their h and w
    "no_reference": (64, 48, 1, 0, 32, 24),
    "reference": (64, 48, 2, 1, 64, 48),
    "references": (64, 48, 1, 3, 64, 48),
    "large": (96, 72, 1, 1, 96, 72),
}
host, leffa = boot.ours("hosts.comfy"), boot.ours("methods.leffa")
record = boot.ours("methods.flow_record").FlowRecord
model, _ = person_model()
config = host.model_config(model)
channels = config["latent_channels"]
extra = config["unet_encoder"]["in_channels"] - channels
concat = config["unet"]["in_channels"] - channels
if "patch" not in config["vae"]:  # a published model: fewer cases, it is slow
    CASES = {"reference": (64, 48, 1, 1, 64, 48)}
text = torch.zeros(1, 1, config["unet"]["cross_attention_dim"])


def peak_of(action) -> int:
    """Most bytes that were allocated at one time during action()."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        action()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(path))
        trace = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    now = peak = 0
    for event in sorted((e for e in trace if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    return peak


def spy(models, memory_required=0, **options):
    asked.append(memory_required)
    return load(models, memory_required=memory_required, **options)


asked: list[float] = []
load, management.load_models_gpu = management.load_models_gpu, spy
out = {}
for name, (h, w, batch, count, ref_h, ref_w) in CASES.items():
    shown = max(count, 1)
    reference = leffa.Reference(
        torch.rand(shown, 8, 8, 3),
        torch.randn(1, shown, channels, ref_h, ref_w),
        torch.rand(1, shown, extra, ref_h, ref_w),
    )
    layers = record(config.get("flow_layers"))
    patched = host.patch(model, leffa.Leffa(reference, float(count > 0), observer=layers))
    cond = [[text, {"noise_concat": torch.rand(batch, concat, h, w)}]]
    latent = {"samples": torch.zeros(batch, channels, h, w)}
    sample(patched, cond, cond, latent, steps=1)
    asked.clear()
    peak = peak_of(lambda: sample(patched, cond, cond, latent, steps=2))  # noqa: B023
    out[name] = torch.tensor([peak, max(asked)], dtype=torch.float64)
boot.save(out)
