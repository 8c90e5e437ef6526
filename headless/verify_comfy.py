"""Runs inside ComfyUI's interpreter: python verify_comfy.py COMFYUI FIXTURE; prints JSON."""

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mannequin"


def main(comfyui: str, fixture: str) -> dict[str, float]:
    """forward_max_abs and sample_rel of a golden file, sampled by ComfyUI's own samplers."""
    sys.path.insert(0, comfyui)
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.use_pytorch_cross_attention = True

    import comfy.sample
    import comfy.samplers
    import torch

    spec = importlib.util.spec_from_file_location(
        PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACKAGE])
    from mannequin.headless import golden as files
    from mannequin.hosts import comfy as host
    from mannequin.hosts.comfy_weights import person_model
    from mannequin.hosts.sampling import leading_noise_levels
    from mannequin.methods.guidance import rescaled_by

    golden = files.read(Path(fixture))
    model = host.ready(person_model(golden.stored))
    model = host.patch(model, golden.method())
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": golden.concat}]]
    empty = torch.zeros_like(golden.inputs["noise"])
    table = host.noise_table(model)

    def sample(patched, cfg, sampler, sigmas, noise):
        with torch.inference_mode():
            return comfy.sample.sample_custom(
                patched, noise, cfg, sampler, sigmas, conditioning, conditioning, empty,
                disable_pbar=True, seed=0,
            )  # fmt: skip

    calls = []

    def keep(args):
        sigma = args["sigma"].reshape(-1, 1, 1, 1)
        both = [args["uncond_denoised"], args["cond_denoised"]]
        calls.append(torch.cat([(args["input"] - x0) / sigma for x0 in both]))
        return args["denoised"]

    def one_call(network, x, sigmas, extra_args=None, callback=None, disable=None):
        return network(x, sigmas[:1].expand(len(x)), **extra_args)

    sigma = table[golden.timestep].cpu()
    watched = model.clone()
    watched.set_model_sampler_post_cfg_function(keep)
    x = golden.inputs["x"]
    sampler = comfy.samplers.KSAMPLER(one_call)
    once = torch.stack([sigma, torch.zeros(())])
    sample(watched, golden.guidance, sampler, once, files.initial_noise(x, sigma))

    noise = iter(golden.inputs["step_noise"].unsqueeze(1))
    options = {"noise_sampler": lambda now, after: next(noise)}
    sampler = comfy.samplers.ksampler("ddpm", options)
    sigmas = leading_noise_levels(table, golden.steps)
    start = files.initial_noise(golden.inputs["noise"], sigmas[0])
    out = sample(host.guide(model, rescaled_by(1.0)), golden.guidance, sampler, sigmas, start)
    return golden.errors(calls[0], out * golden.stored.config["latent_scale"])


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
