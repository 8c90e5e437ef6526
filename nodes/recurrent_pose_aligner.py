"""Recurrent Pose Aligner: the references are moved to the target's pose before they are seen."""

from comfy_api.latest import io

from .. import hosts
from ..hosts.aligner import read_aligner
from ..methods.flow_record import FlowRecord
from ..methods.reposedm import Aligned, AlignmentRecord, target_pose_of
from . import model_files
from .flow_guided_attention import RUNS
from .live_flow import live_flow
from .schema import CATEGORY, Alignment, Flow, build, span
from .schema import Reference as ReferenceWire

MOST = 8


class RecurrentPoseAligner(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinRecurrentPoseAligner",
            display_name="Recurrent Pose Aligner",
            category=CATEGORY,
            description="Moves the references' features to the target pose, a little better with "
            "every iteration, and lets the generator look at them there (RePoseDM, arXiv "
            "2310.16074). In place of Flow-Guided Attention.",
            search_aliases=["reposedm", "pose alignment", "warp", "reference attention", "leffa"],
            not_idempotent=True,  # two equal copies must not fill one record
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The person model that the aligner was trained for, such as "
                    "mannequin-tiny. Other patches stay in place.",
                ),
                ReferenceWire.Input(
                    "reference",
                    tooltip="From Reference Encoder, with its dense pose: without one the aligner "
                    "guesses where the source stands.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="From Person Conditioning: it holds the target's dense pose.",
                ),
                io.Combo.Input(
                    "aligner",
                    options=model_files.names(model_files.ALIGNERS),
                    tooltip="A .safetensors file from models/mannequin/aligners or the pack's "
                    "weights/aligners.",
                ),
                io.Int.Input(
                    "iterations",
                    default=3,
                    min=0,
                    max=MOST,
                    tooltip="How often the alignment is improved. 0 is Flow-Guided Attention; "
                    "training saw 1 to 4.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much the references count. 1 is as trained; 0 is as if the node "
                    "were not there.",
                ),
                *span("the references are seen"),
                build(
                    io.Combo.Input,
                    "reference_run",
                    options=list(RUNS),
                    default=RUNS[0],
                    advanced=True,
                    tooltip="When the reference network runs: at every step, or once for the whole "
                    "sampling at the middle step's noise level. The aligner runs once either way.",
                ),
                build(
                    io.Boolean.Input,
                    "record_flow",
                    default=True,
                    advanced=True,
                    tooltip="Record where the generator looked, for Flow Preview and Flow Detail "
                    "Transfer. Off saves a little time.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                Alignment.Output(
                    display_name="alignment",
                    tooltip="What every iteration did, for Alignment Preview; filled while the "
                    "sampler runs on this model.",
                ),
                Flow.Output(
                    display_name="flow", tooltip="Filled while the sampler runs on this model."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, aligner, **inputs):
        return model_files.fingerprint(model_files.ALIGNERS, aligner)

    @classmethod
    def execute(
        cls,
        model,
        reference,
        positive,
        aligner,
        iterations,
        strength,
        start_percent,
        end_percent,
        reference_run,
        record_flow,
    ):
        host = hosts.host_of(model)
        config = host.model_config(model)
        network = read_aligner(model_files.path(model_files.ALIGNERS, aligner))
        network.check(config)
        concat = positive[0][1].get("noise_concat")
        latent = config["latent_channels"]
        channels = config["unet"]["in_channels"] - latent
        if concat is None or concat.shape[1] != channels:
            came = "text alone" if concat is None else f"{concat.shape[1]} channels"
            raise ValueError(
                "Expected the positive output of Person Conditioning, which holds the target's "
                f"dense pose: {channels} channels beside the latent; got {came}. Connect it, made "
                "with this model."
            )
        record = AlignmentRecord()
        flow = FlowRecord(config.get("flow_layers"), after_step=live_flow(cls.hidden.unique_id))
        method = Aligned(
            reference,
            network.net,
            None,
            target_pose_of(concat, latent),
            iterations,
            strength,
            start_percent,
            end_percent,
            observer=flow if record_flow else None,
            once=reference_run == RUNS[1],
            record=record,
        )
        return io.NodeOutput(host.patch(model, method), record, flow)
