"""`mannequin verify`: a golden file on every host that is present."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from ..hosts import diffusers as host
from ..hosts.networks import unet
from ..hosts.sampling import NoiseSchedule, leading_noise_levels
from ..methods.guidance import rescaled_by
from ..methods.site import Step
from .golden import Golden, initial_noise, passed, read

CHILD = Path(__file__).with_name("verify_comfy.py")
SECONDS = 600


def verify(fixture: Path, comfyui: Path) -> tuple[dict[str, dict], bool]:
    """What every host makes of a golden file {host: figures}, and whether all are close enough.

    A host that is not installed says so under "absent" and does not count. Raises ValueError when
    the file is not a golden one.
    """
    golden = read(fixture)
    found = {"diffusers": on_diffusers(golden), "comfyui": on_comfyui(fixture, comfyui)}
    ran = [figures for figures in found.values() if "absent" not in figures]
    return found, all("failed" not in figures and passed(figures) for figures in ran)


@torch.inference_mode()
def on_diffusers(golden: Golden) -> dict[str, float]:
    """forward_max_abs and sample_rel on the embedded engine's host."""
    stored = golden.stored
    schedule = NoiseSchedule(zero_terminal_snr=stored.config["zero_terminal_snr"])
    model = host.PersonModel(
        unet(stored, "unet"), unet(stored, "unet_encoder"), schedule, stored.config
    )
    model = host.patch(model, golden.method())
    sigma = float(schedule.sigmas[golden.timestep])
    x = golden.inputs["x"] * (sigma**2 + 1) ** 0.5
    both = x.expand(2, *x.shape[1:])
    step = Step(sigma, 0.0, 0, 1, (False, True), (sigma,))
    x0 = model.predict(both, sigma, step, golden.concat.expand(2, *golden.concat.shape[1:]))

    sigmas = leading_noise_levels(schedule.sigmas, golden.steps)
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": golden.concat}]]
    noise = golden.inputs["noise"]
    out, _ = host.sample_custom(
        host.guide(model, rescaled_by(1.0)),
        True,
        0,
        golden.guidance,
        conditioning,
        conditioning,
        "ddpm",
        sigmas,
        {"samples": torch.zeros_like(noise)},
        noise=initial_noise(noise, sigmas[0]),
        step_noise=list(golden.inputs["step_noise"].unsqueeze(1)),
    )
    return golden.errors((both - x0) / sigma, out["samples"] * stored.config["latent_scale"])


def on_comfyui(
    fixture: Path, comfyui: Path, python: str | Path | None = None
) -> dict[str, float | str]:
    """The same in ComfyUI's own interpreter; {"absent": why} or {"failed": why} where it cannot.

    python: default ComfyUI's own .venv, or the one that runs this.
    """
    if not (comfyui / "comfy").is_dir():
        return {"absent": f"no ComfyUI in {comfyui}: name its folder with --comfyui"}
    own = comfyui / ".venv" / "bin" / "python"
    command = [
        python or (own if own.exists() else sys.executable),
        CHILD,
        comfyui,
        fixture.resolve(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        ours_missing = "'mannequin" in lines[-1]
        if lines[-1].startswith("ModuleNotFoundError") and not ours_missing:
            return {"absent": f"{command[0]} cannot run ComfyUI: {lines[-1]}"}
        return {"failed": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])
