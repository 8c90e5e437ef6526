"""Our host against the official Leffa pipeline: same random weights, same output, CPU time.

Needs a clone of the official code (github.com/franciszzj/Leffa) beside the project, named by the
environment variable LEFFA_DIR, default ~/Leffa. It is run, never copied.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from ...hosts import diffusers as host
from ...hosts.networks import unet
from ...hosts.published import FAMILIES
from ...hosts.sampling import NoiseSchedule, leading_noise_levels
from ...hosts.weights import PersonWeights
from ...methods.guidance import rescaled_by
from ...methods.leffa import Leffa, Reference

STEPS, GUIDANCE, GRID = 5, 2.5, (64, 48)
SD15 = {
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
CHANNELS = {"unet": 12, "unet_encoder": 4}


def run(seed: int, out: Path) -> None:
    """Writes out (JSON) and a table beside it: CPU seconds of the official pipeline, of ours with
    the reference network at every step, and of ours with the reference run once.

    Latents of 64x48 cells (512x384 pixels), SD1.5's width, 5 steps, guidance 2.5, float32.
    Raises FileNotFoundError when the official code is not there.
    """
    folder = Path(os.environ.get("LEFFA_DIR", "~/Leffa")).expanduser()
    if not (folder / "leffa" / "pipeline.py").is_file():
        raise FileNotFoundError(
            f"{folder}: expected a clone of the official Leffa code, github.com/franciszzj/Leffa. "
            "Clone it there, or name it in LEFFA_DIR."
        )
    stored = random_weights(seed)
    inputs = random_inputs(seed)
    contenders = {
        "official": official(folder, stored, inputs, seed),
        "ours": ours(stored, inputs, seed, once=False),
        "ours_once": ours(stored, inputs, seed, once=True),
    }
    figures, pictures = {}, {}
    for name, sample in contenders.items():
        cpu, wall = time.process_time(), time.perf_counter()
        with torch.inference_mode():
            pictures[name] = sample()
        figures[f"{name}_cpu_s"] = time.process_time() - cpu
        figures[f"{name}_wall_s"] = time.perf_counter() - wall
    theirs = pictures["official"]
    figures["ratio"] = figures["ours_cpu_s"] / figures["official_cpu_s"]
    figures["ratio_once"] = figures["ours_once_cpu_s"] / figures["official_cpu_s"]
    for name in ("ours", "ours_once"):
        error = (pictures[name] - theirs).abs().max() / theirs.abs().max()
        figures[f"{name}_relative_error"] = error.item()
    figures |= {"seed": seed, "threads": torch.get_num_threads()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(table(figures), encoding="utf-8")


def random_weights(seed: int) -> PersonWeights:
    """Two full-size UNets with random weights, in the published layout."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {**FAMILIES["sd15"], "family": "sd15", "prediction": "epsilon"}
    config |= {"latent_channels": 4, "downscale": 8, "vae": {}}
    tensors: dict[str, dict[str, Tensor]] = {"vae": {}}
    for room, channels in CHANNELS.items():
        config[room] = {**SD15, "in_channels": channels}
        tensors[room] = UNet2DConditionModel(**config[room]).state_dict()
    return PersonWeights(config, tensors)


def random_inputs(seed: int) -> dict[str, Tensor]:
    """mask, masked, densepose, ref [1, C, 64, 48]: latents, as the pipelines see them."""
    g = torch.Generator().manual_seed(seed)
    h, w = GRID
    mask = torch.zeros(1, 1, h, w)
    mask[:, :, h // 4 : 3 * h // 4, w // 4 : 3 * w // 4] = 1
    return {
        "mask": mask,
        "masked": torch.randn(1, 4, h, w, generator=g),
        "densepose": torch.rand(1, 3, h, w, generator=g) * 2 - 1,
        "ref": torch.randn(1, 4, h, w, generator=g),
    }


def official(
    folder: Path, stored: PersonWeights, inputs: dict[str, Tensor], seed: int
) -> Callable[[], Tensor]:
    """The official pipeline with the autoencoder replaced by the given latents."""
    sys.path.insert(0, str(folder))
    from leffa.diffusion_model.unet_gen import UNet2DConditionModel as Generative
    from leffa.diffusion_model.unet_ref import UNet2DConditionModel as ReferenceNetwork
    from leffa.model import remove_cross_attention
    from leffa.pipeline import LeffaPipeline

    networks = {}
    for room, kind in (("unet", Generative), ("unet_encoder", ReferenceNetwork)):
        with torch.device("meta"):
            network = kind(**stored.config[room])
        network.load_state_dict(stored.tensors[room], assign=True)
        remove_cross_attention(network, model_type=room)
        networks[room] = network.train(False)
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
        clip_sample=False,
    )
    vae = GivenLatents([inputs["masked"], inputs["ref"]])
    pipeline = LeffaPipeline(SimpleNamespace(vae=vae, noise_scheduler=scheduler, **networks), "cpu")
    picture = torch.zeros(1, 3, *(8 * n for n in GRID))

    def sample() -> Tensor:
        torch.manual_seed(seed)
        pipeline(
            picture,
            picture,
            F.interpolate(inputs["mask"], scale_factor=8.0),
            F.interpolate(inputs["densepose"], scale_factor=8.0),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
        )
        return vae.decoded

    return sample


class GivenLatents:
    """Stands where the official pipeline expects its autoencoder: encodes to the given latents in
    turn and keeps what it is to decode.
    """

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(scaling_factor=1.0)

    def __init__(self, latents: list[Tensor]) -> None:
        self.latents = iter(latents)
        self.decoded = torch.empty(0)

    def encode(self, picture: Tensor) -> SimpleNamespace:
        latent = next(self.latents)
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda: latent))

    def decode(self, latent: Tensor) -> SimpleNamespace:
        self.decoded = latent
        return SimpleNamespace(sample=torch.zeros(1, 3, 8, 8))


def ours(
    stored: PersonWeights, inputs: dict[str, Tensor], seed: int, once: bool
) -> Callable[[], Tensor]:
    """The embedded host, sampling as published with the official pipeline's noise."""
    schedule = NoiseSchedule(zero_terminal_snr=False)
    networks = [unet(stored, room) for room in CHANNELS]
    latents = inputs["ref"][:, None]
    method = Leffa(Reference(torch.empty(0), latents, latents[:, :, :0]), once=once)
    model = host.patch(host.PersonModel(*networks, schedule, stored.config), method)
    model = host.guide(model, rescaled_by(1.0))
    sigmas = leading_noise_levels(schedule.sigmas, STEPS)
    concat = torch.cat([inputs[k] for k in ("mask", "masked", "densepose")], 1)
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": concat}]]
    empty = torch.zeros_like(inputs["ref"])
    first = torch.randn(empty.shape, generator=torch.Generator().manual_seed(seed))
    g = torch.Generator().manual_seed(seed)
    later = [torch.randn(empty.shape, generator=g) for _ in range(STEPS - 1)]
    noise = first * (sigmas[0].square() + 1).sqrt() / sigmas[0]

    def sample() -> Tensor:
        done, _ = host.sample_custom(
            model, True, seed, GUIDANCE, conditioning, conditioning, "ddpm", sigmas,
            {"samples": empty}, noise=noise, step_noise=later,
        )  # fmt: skip
        return done["samples"] * stored.config["latent_scale"]

    return sample


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [
        ("official pipeline", "official", 1.0, 0.0),
        ("ours, reference at every step", "ours", figures["ratio"], None),
        ("ours, reference once", "ours_once", figures["ratio_once"], None),
    ]
    lines = [
        f"# Speed against the official Leffa pipeline, seed {figures['seed']}",
        "",
        f"`LEFFA_DIR=~/Leffa mannequin bench speed --seed {figures['seed']} --out "
        "docs/results/speed.json`",
        "",
        f"{STEPS} steps, guidance {GUIDANCE}, latents of {GRID[0]}x{GRID[1]} cells, SD1.5's width "
        f"with random weights, float32, {figures['threads']} threads; one run each, without "
        "autoencoder. The error is the largest difference over the largest value of the official "
        "sample; with the reference run once, another result is expected.",
        "",
        "| | CPU s | wall s | CPU time | error |",
        "|---|---|---|---|---|",
    ]
    for label, name, ratio, error in rows:
        error = figures[f"{name}_relative_error"] if error is None else error
        lines.append(
            f"| {label} | {figures[f'{name}_cpu_s']:.1f} | {figures[f'{name}_wall_s']:.1f} | "
            f"{ratio:.2f}x | {error:.1e} |"
        )
    return "\n".join(lines) + "\n"
