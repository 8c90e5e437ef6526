"""Flow-Guided Attention: Leffa's reference attention on a MODEL, and the flow it follows."""

from comfy_api.latest import io

from .. import hosts
from ..methods.flow_record import FlowRecord
from ..methods.leffa import Leffa
from .live_flow import live_flow
from .schema import CATEGORY, Flow, build, span
from .schema import Reference as ReferenceWire

RUNS = ("every step", "once")


class FlowGuidedAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinFlowGuidedAttention",
            display_name="Flow-Guided Attention",
            category=CATEGORY,
            description="Lets the generator's self-attention look at the references (Leffa, arXiv "
            "2412.08486) and records where every pixel looked.",
            search_aliases=["leffa", "reference attention", "flow field"],
            not_idempotent=True,  # two equal copies must not fill one flow
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A person model, or a plain SD1.5 or SDXL checkpoint, which then looks "
                    "at its own features of the references. Other patches stay in place.",
                ),
                ReferenceWire.Input("reference", tooltip="From Reference Encoder."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much the references count. 1 is Leffa; 0 is as if the node were "
                    "not there.",
                ),
                *span("the references are seen"),
                build(
                    io.Boolean.Input,
                    "record_flow",
                    default=True,
                    advanced=True,
                    tooltip="Record the flow while sampling, for Flow Preview and Flow Detail "
                    "Transfer. Off saves a little time.",
                ),
                build(
                    io.Combo.Input,
                    "reference_run",
                    options=list(RUNS),
                    default=RUNS[0],
                    optional=True,  # workflows from before this input still run
                    advanced=True,
                    tooltip="When the reference network runs: at every step, or once for the whole "
                    "sampling at the middle step's noise level, which is faster and a little less "
                    "faithful.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                Flow.Output(
                    display_name="flow", tooltip="Filled while the sampler runs on this model."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        reference,
        strength,
        start_percent,
        end_percent,
        record_flow,
        reference_run=RUNS[0],
    ):
        host = hosts.host_of(model)
        layers = host.model_config(model).get("flow_layers")
        flow = FlowRecord(layers, after_step=live_flow(cls.hidden.unique_id))
        method = Leffa(
            reference,
            strength,
            start_percent,
            end_percent,
            flow if record_flow else None,
            once=reference_run == RUNS[1],
        )
        return io.NodeOutput(host.patch(model, method), flow)
