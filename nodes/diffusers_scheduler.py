"""Diffusers Scheduler: the noise levels that the published Leffa code samples along."""

from comfy_api.latest import io

from .. import hosts
from ..hosts.sampling import leading_noise_levels
from .schema import CATEGORY, build


class DiffusersScheduler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinDiffusersScheduler",
            display_name="Diffusers Scheduler",
            category=CATEGORY,
            description="The noise levels of diffusers' schedulers with leading spacing and offset "
            "1, as the published Leffa code uses them: exactly as many steps as asked for.",
            search_aliases=["leading", "ddpm", "sigmas", "leffa scheduler"],
            inputs=[
                io.Model.Input("model", tooltip="The model that is sampled."),
                io.Int.Input(
                    "steps", default=30, min=1, max=1000, tooltip="Denoiser calls, 1 to 1000."
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 starts from noise; less keeps that part of a longer run, 0 is none.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For Sampler Custom.")],
        )

    @classmethod
    def execute(cls, model, steps, denoise):
        table = hosts.host_of(model).noise_table(model)
        return io.NodeOutput(leading_noise_levels(table, steps, denoise))
