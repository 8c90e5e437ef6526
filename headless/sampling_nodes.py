"""The core sampling nodes that our workflows use, under ComfyUI's names; see core_nodes.py."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .progress import ProgressBar
from .schema import (
    Boolean,
    Combo,
    ComfyNode,
    Conditioning,
    Float,
    Int,
    Latent,
    Model,
    NodeOutput,
    Sampler,
    Schema,
    Sigmas,
)

SMALLEST = 0.0001  # noise level that a flipped run starts from; ComfyUI's


class KSampler(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        from ..hosts.diffusers import SAMPLERS, SCHEDULERS

        return Schema(
            node_id="KSampler",
            display_name="KSampler",
            category="sampling",
            inputs=[
                Model.Input("model"),
                Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True),
                Int.Input("steps", default=20, min=1, max=10000),
                Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01),
                Combo.Input("sampler_name", options=list(SAMPLERS)),
                Combo.Input("scheduler", options=list(SCHEDULERS)),
                Conditioning.Input("positive"),
                Conditioning.Input("negative"),
                Latent.Input("latent_image"),
                Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01),
            ],
            outputs=[Latent.Output(display_name="LATENT")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict,
        denoise: float,
    ) -> NodeOutput:
        from ..hosts.diffusers import sample

        latent = sample(
            model,
            seed,
            steps,
            cfg,
            sampler_name,
            scheduler,
            positive,
            negative,
            latent_image,
            denoise,
            callback=_showing(steps),
        )
        return NodeOutput(latent)


class KSamplerSelect(ComfyNode):
    """The wire carries the sampler's name."""

    @classmethod
    def define_schema(cls) -> Schema:
        from ..hosts.diffusers import SAMPLERS

        return Schema(
            node_id="KSamplerSelect",
            display_name="KSamplerSelect",
            category="sampling/custom_sampling/samplers",
            inputs=[Combo.Input("sampler_name", options=list(SAMPLERS))],
            outputs=[Sampler.Output()],
        )

    @classmethod
    def execute(cls, sampler_name: str) -> NodeOutput:
        return NodeOutput(sampler_name)


class SplitSigmas(ComfyNode):
    """Noise levels up to and including one of them, and those from it on."""

    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="SplitSigmas",
            display_name="SplitSigmas",
            category="sampling/custom_sampling/sigmas",
            inputs=[Sigmas.Input("sigmas"), Int.Input("step", default=0, min=0, max=10000)],
            outputs=[
                Sigmas.Output(display_name="high_sigmas"),
                Sigmas.Output(display_name="low_sigmas"),
            ],
        )

    @classmethod
    def execute(cls, sigmas: Tensor, step: int) -> NodeOutput:
        return NodeOutput(sigmas[: step + 1], sigmas[step:])


class FlipSigmas(ComfyNode):
    """Noise levels the other way round, from a picture to the noise that it comes from."""

    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="FlipSigmas",
            display_name="FlipSigmas",
            category="sampling/custom_sampling/sigmas",
            inputs=[Sigmas.Input("sigmas")],
            outputs=[Sigmas.Output()],
        )

    @classmethod
    def execute(cls, sigmas: Tensor) -> NodeOutput:
        flipped = sigmas.flip(0)
        flipped[:1].clamp_(min=SMALLEST)
        return NodeOutput(flipped)


class SamplerCustom(ComfyNode):
    """A sampler along given noise levels; gives the samples and the last prediction of x0."""

    @classmethod
    def define_schema(cls) -> Schema:
        return Schema(
            node_id="SamplerCustom",
            display_name="SamplerCustom",
            category="sampling/custom_sampling",
            inputs=[
                Model.Input("model"),
                Boolean.Input("add_noise", default=True),
                Int.Input(
                    "noise_seed", default=0, min=0, max=2**64 - 1, control_after_generate=True
                ),
                Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01),
                Conditioning.Input("positive"),
                Conditioning.Input("negative"),
                Sampler.Input("sampler"),
                Sigmas.Input("sigmas"),
                Latent.Input("latent_image"),
            ],
            outputs=[
                Latent.Output(display_name="output"),
                Latent.Output(display_name="denoised_output"),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        add_noise: bool,
        noise_seed: int,
        cfg: float,
        positive: list,
        negative: list,
        sampler: str,
        sigmas: Tensor,
        latent_image: dict,
    ) -> NodeOutput:
        from ..hosts.diffusers import sample_custom

        samples, denoised = sample_custom(
            model,
            add_noise,
            noise_seed,
            cfg,
            positive,
            negative,
            sampler,
            sigmas,
            latent_image,
            callback=_showing(len(sigmas) - 1),
        )
        return NodeOutput(samples, denoised)


def _showing(steps: int) -> Callable[[int, int, Tensor], None]:
    """What a sampler calls after each of its steps, so that they are seen."""
    bar = ProgressBar(steps)
    return lambda index, total, x0: bar.update_absolute(index + 1, total)


SAMPLING_NODES = [KSampler, KSamplerSelect, SplitSigmas, FlipSigmas, SamplerCustom]
