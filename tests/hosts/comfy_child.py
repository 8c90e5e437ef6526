"""Runs inside ComfyUI's interpreter: python comfy_child.py COMFYUI MODEL INPUTS OUTPUTS.

Samples every case of `test_comfy_host.py` on ComfyUI and writes the latents to OUTPUTS.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
comfyui, model_file, inputs_file, outputs_file = sys.argv[1:]
sys.argv = sys.argv[:1]
sys.path.insert(0, comfyui)

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
comfy.cli_args.args.use_pytorch_cross_attention = True

import comfy.sample  # noqa: E402
import latent_preview  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy.ldm.modules.attention import optimized_attention  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

# ComfyUI loads the folder under a name of its own, so everything inside must import relatively.
spec = importlib.util.spec_from_file_location(
    "custom_nodes_x_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
)
pack = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = pack
spec.loader.exec_module(pack)
from custom_nodes_x_pack.hosts import comfy as host  # noqa: E402
from custom_nodes_x_pack.hosts.comfy_hooks import METHODS  # noqa: E402
from custom_nodes_x_pack.methods import flow_record, leffa  # noqa: E402
from custom_nodes_x_pack.methods.site import Method  # noqa: E402

torch.set_num_threads(1)
given = load_file(inputs_file)
model, vae = host.load_person_model(model_file)


def bare():
    """The model as ComfyUI itself runs it, without any wrapper of ours."""
    unwrapped = model.clone()
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.DIFFUSION_MODEL):
        unwrapped.remove_wrappers_with_key(kind, METHODS)
    return unwrapped


def sample(patched, mask=None, cfg=2.5):
    cond = [[torch.zeros(1, 1, 1), {"noise_concat": given["concat"]}]]
    latent = given["latent"]
    noise = comfy.sample.prepare_noise(latent, 7)
    with torch.inference_mode():
        return comfy.sample.sample(
            patched, noise, 3, cfg, "euler", "simple", cond, cond, latent.clone(),
            noise_mask=mask, seed=7, disable_pbar=True,
        )  # fmt: skip


def reference_attention(strength, observer=None, source=model):
    reference = leffa.Reference(given["image"], given["ref_latent"], given["ref_pose"])
    return host.patch(source, leffa.Leffa(reference, strength, observer=observer))


def preview(latent):
    """What ComfyUI shows of a latent while it samples, [h, w, 3]."""
    shown = latent_preview.LatentPreviewMethod.Latent2RGB
    latent_preview.args.preview_method = shown
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    return torch.from_numpy(np.array(previewer.decode_latent_to_preview(latent)))


class Neighbour:
    """Another pack: scales the values of every self-attention and replaces one attention."""

    def __init__(self):
        self.patches = self.replacements = 0

    def __deepcopy__(self, memo):
        return self  # ComfyUI below 0.18 copies patches with every clone; this one counts calls

    def apply(self, source):
        patched = source.clone()
        patched.set_model_attn1_patch(self.scale)
        patched.set_model_attn1_replace(self.attend, "middle", 0)
        return patched

    def scale(self, n, context, value, extra):
        self.patches += 1
        return n, context, value * 1.5

    def attend(self, q, k, v, extra):
        self.replacements += 1
        return optimized_attention(q, k, v, extra["n_heads"]) * 0.5


class Halve(Method):
    """Uses the two hooks outside the UNet."""

    shows_references = True

    def denoised(self, x0, step):
        return x0 * 0.5 if step.index == step.total - 1 else x0

    def mask(self, mask, step):
        return mask * 0


def with_reference_outside(neighbour):
    return reference_attention(1.0, source=neighbour.apply(model))


def with_reference_inside(neighbour):
    return neighbour.apply(reference_attention(1.0))


record = flow_record.FlowRecord()
mask = torch.zeros(1, 128, 96)
mask[:, 32:96, 24:72] = 1
out = {
    "encoded": vae.encode(given["image"]),
    "decoded": vae.decode(given["latent"]),
    "faint": vae.decode(given["latent"] * 0.5),
    "preview_of_faint": preview(given["latent"] * 0.5),
    "plain": sample(bare()),
    "strength_0": sample(reference_attention(0.0)),
    "strength_1": sample(reference_attention(1.0)),
    "strength_half": sample(reference_attention(0.5)),
    "recorded": sample(reference_attention(1.0, record)),
    "recorded_xy": record.field().xy,
    "unguided": sample(reference_attention(1.0), cfg=1.0),
    "masked": sample(reference_attention(1.0), mask),
    "halved": sample(host.patch(model, Halve())),
    "all_kept": sample(host.patch(model, Halve()), torch.ones(1, 128, 96)),
    "plain_again": sample(bare()),
}
for name, build in (("outside", with_reference_outside), ("inside", with_reference_inside)):
    neighbour = Neighbour()
    out[f"neighbour_{name}"] = sample(build(neighbour))
    out[f"calls_{name}"] = torch.tensor([neighbour.patches, neighbour.replacements])
out["neighbour_alone"] = sample(Neighbour().apply(bare()))
try:
    sample(model)
except ValueError as error:
    message = str(error)
save_file({key: t.contiguous() for key, t in out.items()}, outputs_file, {"error": message})
