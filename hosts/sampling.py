"""Noise levels and sampling in ComfyUI's conventions, on diffusers' schedulers.

sigma is k-diffusion's: x = x0 + sigma * noise. The functions named after ComfyUI's schedulers
return the same noise levels, so that one workflow gives one picture on both hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

SAMPLERS = ("euler", "ddim", "ddpm")
SCHEDULERS = ("simple", "normal", "sgm_uniform", "ddim_uniform")


class NoiseSchedule:
    """A discrete variance-preserving schedule.

    betas: "scaled_linear" between start and end over 1000 steps; zero_terminal_snr rescales it so
    that the last step is pure noise (Lin et al. 2023, algorithm 1).
    """

    def __init__(
        self, start: float = 0.00085, end: float = 0.012, zero_terminal_snr: bool = True
    ) -> None:
        betas = torch.linspace(start**0.5, end**0.5, 1000, dtype=torch.float64).square()
        root = (1 - betas).cumprod(0).sqrt()
        if zero_terminal_snr:
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            root[-1] = ALMOST_ZERO**0.5
        self.alphas_cumprod = root.square().float()
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    def timestep(self, sigma: float) -> int:
        """The discrete step whose noise level is nearest in the logarithm."""
        return int((self.sigmas.log() - np.log(max(sigma, 1e-10))).abs().argmin())

    def sigma(self, timestep: float) -> float:
        """Noise level of a fractional timestep, interpolated in the logarithm."""
        t = min(max(timestep, 0.0), len(self.sigmas) - 1.0)
        low, high = int(np.floor(t)), int(np.ceil(t))
        log = self.sigmas.log()
        return float(torch.lerp(log[low], log[high], t - low).exp())


ALMOST_ZERO = 4.8973451890853435e-08


def noise_levels(schedule: NoiseSchedule, scheduler: str, steps: int, denoise: float) -> Tensor:
    """The run's sigmas [steps + 1], descending, ending in 0; denoise 0..1 keeps the last part.

    As in ComfyUI, ddim_uniform has more where steps do not divide 1000: 31 steps for 30. Raises
    ValueError for an unknown scheduler.
    """
    if denoise <= 0:
        return torch.empty(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    table = schedule.sigmas
    if scheduler == "simple":
        stride = len(table) / total
        levels = [float(table[-(1 + int(i * stride))]) for i in range(total)]
    elif scheduler in ("normal", "sgm_uniform"):
        count = total + 1 if scheduler == "sgm_uniform" else total
        times = torch.linspace(len(table) - 1, 0, count).tolist()
        levels = [schedule.sigma(t) for t in times[:total]]
    elif scheduler == "ddim_uniform":
        stride = max(len(table) // total, 1)
        levels = [float(s) for s in table[1::stride]][::-1]
    else:
        raise ValueError(f"Unknown scheduler {scheduler!r}: expected one of {SCHEDULERS}.")
    levels = torch.tensor([*levels, 0.0])
    return levels if total == steps else levels[-(steps + 1) :]


def leading_noise_levels(table: Tensor, steps: int, denoise: float = 1.0) -> Tensor:
    """diffusers' "leading" spacing with offset 1, as the published Leffa code samples.

    table: the noise level of every discrete step, ascending. steps: 1 to len(table). denoise:
    0..1, keeps the last part of a longer run. Returns sigmas [steps + 1], descending, ending in 0.
    ComfyUI's `ddim_uniform` gives the same only where steps divide the table's length.
    Raises ValueError for steps outside their range.
    """
    if denoise <= 0:
        return torch.empty(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    if not 1 <= total <= len(table):
        raise ValueError(
            f"Expected 1 to {len(table)} steps; got {total}"
            + (f" ({steps} at denoise {denoise})." if total != steps else ".")
            + " Lower the steps or raise denoise."
        )
    times = torch.arange(total) * (len(table) // total) + 1
    levels = table[times.clamp_max(len(table) - 1)].flip(0).float().cpu()
    return torch.cat([levels, torch.zeros(1)])[-(steps + 1) :]


Denoise = Callable[[Tensor, float, int], Tensor]
AfterStep = Callable[[int, Tensor], None]


def sample(
    sampler: str,
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: int | Iterable[Tensor],
    after_step: AfterStep,
) -> Tensor:
    """Runs one of SAMPLERS from x along sigmas.

    denoise(x, sigma, index) predicts x0; after_step(index, x0) is called after each step. noise:
    what ddpm adds, or its seed. Raises ValueError for an unknown sampler.
    """
    if sampler == "ddpm":
        noise = step_noise(x, noise) if isinstance(noise, int) else iter(noise)
        return ddpm(denoise, x, sigmas, noise, after_step)
    if sampler in SAMPLERS:
        return euler(denoise, x, sigmas, after_step)
    raise ValueError(f"Unknown sampler {sampler!r}: expected one of {SAMPLERS}.")


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, after_step: AfterStep) -> Tensor:
    """Euler's method on the probability flow, stepped by diffusers' EulerDiscreteScheduler.

    Deterministic DDIM is the same update in this parametrisation.
    """
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(prediction_type="epsilon")
    scheduler.sigmas = sigmas.clone()
    scheduler.timesteps = torch.arange(len(sigmas) - 1, dtype=torch.float32)
    scheduler.num_inference_steps = len(sigmas) - 1
    scheduler.is_scale_input_called = True
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = float(sigmas[index])
        x0 = denoise(x, sigma, index)
        x = scheduler.step((x - x0) / sigma, timestep, x, return_dict=False)[0]
        after_step(index, x0)
    return x


def ddpm(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Iterator[Tensor], after_step: AfterStep
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2; posterior of equation 7) at any sigmas.

    With a = 1 / (sigma^2 + 1) the cumulative alpha, x is scaled by sqrt(a) to the paper's x_t.
    """
    cumulative = 1 / (sigmas.square() + 1)
    for index, sigma in enumerate(sigmas[:-1]):
        x0 = denoise(x, float(sigma), index)
        now, after = cumulative[index], cumulative[index + 1]
        alpha = now / after
        epsilon = (x - x0) / sigma
        mean = (now.sqrt() * x - (1 - alpha) / (1 - now).sqrt() * epsilon) / alpha.sqrt()
        after_step(index, x0)
        if sigmas[index + 1] > 0:
            variance = (1 - alpha) * (1 - after) / (1 - now)
            mean = (mean + variance.sqrt() * next(noise)) / after.sqrt()
        x = mean
    return x


def step_noise(x: Tensor, seed: int) -> Iterator[Tensor]:
    """Noise of x's shape for every step, from the seed that ComfyUI's samplers use on a CPU."""
    generator = torch.Generator().manual_seed(seed + 1)
    while True:
        yield torch.randn(x.shape, generator=generator)
