"""MoA Router: several people in one scene, each painted where they are, the rest by the model."""

from comfy_api.latest import io

from .. import hosts
from ..hosts import lending
from ..hosts.routers import read_router
from ..hosts.subjects import bind
from ..methods.moa import MoA, RoutedAdapters, RouteRecord
from . import model_files
from .live_routes import live_routes
from .parallel_visual_attention import LAYERS
from .schema import CATEGORY, PersonAdapter, Routes, Subjects, build, span

UNTRAINED = "from masks or attention"


class MoARouter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinMoARouter",
            display_name="MoA Router",
            category=CATEGORY,
            description="Paints several people into one scene (MoA, arXiv 2404.11565): at every "
            "pixel the person's own attention and the model's are mixed, so that people become "
            "themselves and the scene stays the model's.",
            search_aliases=[
                "moa",
                "mixture of attention",
                "multiple people",
                "face id",
                "regional",
            ],
            not_idempotent=True,  # two equal copies must not fill one record
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Load Inpaint Model, or an SD1.5, SD2 or SDXL checkpoint. LoRAs and "
                    "other patches stay in place.",
                ),
                io.Clip.Input("clip", tooltip="The model's CLIP, which reads the prompt."),
                Subjects.Input("subjects", tooltip="From Subject: who stands behind which word."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="The whole scene, with the word of every subject in it. It takes the "
                    "place of the positive CLIP Text Encode.",
                ),
                io.Combo.Input(
                    "router",
                    options=[UNTRAINED, *model_files.names(model_files.ROUTERS)],
                    default=UNTRAINED,
                    tooltip="A trained router from models/mannequin/routers or the pack's "
                    "weights/routers; or, from masks or attention: the adapter paints each person "
                    "inside their mask, or where the attention to their word is.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much of the pixels the people get. 1 is MoA; 0 is as if the node "
                    "were not there.",
                ),
                *span("the people are seen"),
                build(
                    io.Combo.Input,
                    "layers",
                    options=list(LAYERS),
                    default=LAYERS[0],
                    advanced=True,
                    tooltip="Where the people are seen: in all layers, in the coarse half (shape) "
                    "or in the fine half (skin and detail).",
                ),
                build(
                    io.Float.Input,
                    "temperature",
                    default=1.0,
                    min=0.05,
                    max=10.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Of the router: below 1 every pixel belongs more clearly to a person "
                    "or the scene, above 1 they blend. Masks are not changed by it.",
                ),
                build(
                    io.Boolean.Input,
                    "record_routes",
                    default=True,
                    advanced=True,
                    tooltip="Record while sampling who is painted where, for Route Preview. Off "
                    "saves a little time.",
                ),
                PersonAdapter.Input(
                    "adapter",
                    optional=True,
                    tooltip="From Load Person Adapter; needed where the router is not a trained "
                    "one.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Conditioning.Output(
                    display_name="positive",
                    tooltip="The prompt, for KSampler. Made for this model: another text "
                    "conditioning would not have the people's words in their places.",
                ),
                Routes.Output(
                    display_name="routes",
                    tooltip="Who was painted where; filled while the sampler runs on this model.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, router, **inputs):
        trained = isinstance(router, str) and router != UNTRAINED
        return model_files.fingerprint(model_files.ROUTERS, router) if trained else ""

    @classmethod
    def execute(
        cls,
        model,
        clip,
        subjects,
        prompt,
        router,
        strength,
        start_percent,
        end_percent,
        layers,
        temperature,
        record_routes,
        adapter=None,
    ):
        host = hosts.host_of(model)
        base = lending.layers(host, model)
        positive, bound = bind(host, clip, prompt, subjects)
        record = RouteRecord(after_step=live_routes(cls.hidden.unique_id))
        how = {
            "strength": strength,
            "start": start_percent,
            "end": end_percent,
            "temperature": temperature,
            "layers": layers,
            "record": record if record_routes else None,
        }
        if router == UNTRAINED:
            if adapter is None:
                raise ValueError(
                    f"Expected an adapter from Load Person Adapter: {UNTRAINED!r} paints people "
                    "with it. Connect one that fits the model, or choose a trained router."
                )
            method = RoutedAdapters.of(adapter, base, bound, **how)
        else:
            weights = read_router(model_files.path(model_files.ROUTERS, router))
            weights.check(base)
            method = MoA(weights, bound, **how)
        return io.NodeOutput(host.patch(model, method), positive, record)
