"""Golden outputs of the published Leffa code, and how far a host is from them.

A golden file holds `sd.*` (two UNets in diffusers names), `in.*` and `out.*`; its metadata says how
it was made (the UNet's configuration, timestep, scheduler, guidance).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..hosts.published import FAMILIES, unet_config
from ..hosts.weights import PersonWeights
from ..methods.leffa import Leffa, Reference

INPUTS = ("ref", "masked", "mask", "densepose", "x", "noise", "step_noise")
OUTPUTS = ("forward_uncond_cond", "timesteps", "sample_10_steps")
SHAPED = ("attention_head_dim", "norm_num_groups")
FORWARD_TOLERANCE = SAMPLE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Golden:
    """inputs, outputs: by name, without `in.` and `out.`. timestep: of the single call."""

    stored: PersonWeights
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    timestep: int
    guidance: float

    @property
    def concat(self) -> Tensor:
        """The channels beside the noisy latent [1, 1 + C + 3, h, w]."""
        return torch.cat([self.inputs[k] for k in ("mask", "masked", "densepose")], 1)

    @property
    def steps(self) -> int:
        return len(self.outputs["timesteps"])

    def method(self) -> Leffa:
        latents = self.inputs["ref"][:, None]
        return Leffa(Reference(torch.empty(0), latents, latents[:, :, :0]))

    def errors(self, forward: Tensor, sample: Tensor) -> dict[str, float]:
        """forward [2, C, h, w], unconditional row first; sample [1, C, h, w], as the model sees
        latents. Returns forward_max_abs and sample_rel, the largest error over the largest value.
        """
        expected = self.outputs["sample_10_steps"]
        return {
            "forward_max_abs": _largest(forward - self.outputs["forward_uncond_cond"]),
            "sample_rel": _largest(sample - expected) / _largest(expected),
        }


def read(path: Path) -> Golden:
    """Opens a golden file. Raises ValueError naming what was expected and what is missing."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected a golden safetensors file: {error}") from error
    missing = [f"in.{k}" for k in INPUTS if f"in.{k}" not in tensors]
    missing += [f"out.{k}" for k in OUTPUTS if f"out.{k}" not in tensors]
    missing += [k for k in ("unet", "timestep", "guidance_scale", "scheduler") if k not in metadata]
    missing += [k for k in ("sd.unet.", "sd.unet_encoder.") if not _under(tensors, k)]
    if missing:
        raise ValueError(
            f"{path}: expected a golden file of the published Leffa code; it lacks "
            f"{', '.join(missing)}. Make it with the same script as the others."
        )
    told = json.loads(metadata["unet"])
    rooms = {room: _under(tensors, f"sd.{room}.") for room in ("unet", "unet_encoder")}
    config = {}
    for room, state in rooms.items():
        state = {k: t for k, t in state.items() if not k.startswith("add_embedding.")}
        rooms[room] = state
        config[room] = unet_config({k: tuple(t.shape) for k, t in state.items()})
        config[room] |= {k: told[k] for k in SHAPED if k in told}
    family = "sdxl" if config["unet"]["use_linear_projection"] else "sd15"
    config |= {
        **FAMILIES[family],
        "family": family,
        "prediction": "epsilon",
        "zero_terminal_snr": "rescale_betas_zero_snr=True" in metadata["scheduler"],
        "latent_channels": config["unet"]["out_channels"],
        "downscale": 8,
        "vae": {"latent_channels": config["unet"]["out_channels"]},
    }
    return Golden(
        PersonWeights(config, {**rooms, "vae": {}}),
        _under(tensors, "in."),
        _under(tensors, "out."),
        int(metadata["timestep"]),
        float(metadata["guidance_scale"]),
    )


def passed(errors: Mapping[str, float]) -> bool:
    """Whether both errors are within their tolerances; NaN is not."""
    return (
        errors["forward_max_abs"] <= FORWARD_TOLERANCE and errors["sample_rel"] <= SAMPLE_TOLERANCE
    )


def initial_noise(noise: Tensor, sigma: Tensor) -> Tensor:
    """The published code begins with noise of variance 1 at any noise level sigma; hosts in
    k-diffusion's convention multiply theirs by sigma.
    """
    return noise * (sigma.square() + 1).sqrt() / sigma


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _largest(x: Tensor) -> float:
    return x.abs().max().item()
