"""Personalize Face: forty steps that teach an adapter one person, inside the graph."""

from dataclasses import replace

from comfy_api.latest import io

from .. import hosts
from ..hosts.lending import lend
from ..methods.personalize import Personalization, Tuning
from . import unfinished
from .live_training import live_training
from .schema import CATEGORY, FaceEmbedding, PersonAdapter, build


class PersonalizeFace(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return build(
            io.Schema,
            node_id="MannequinPersonalizeFace",
            display_name="Personalize Face",
            category=CATEGORY,
            description="Tunes an adapter for one person in about forty steps (PVA, arXiv "
            "2312.03556). Interrupted, it goes on where it was; run again unchanged, it is taken "
            "from memory.",
            search_aliases=["pva", "train face", "fine-tune", "dreambooth", "custom diffusion"],
            inputs=[
                io.Model.Input("model", tooltip="The model that the adapter was trained for."),
                io.Clip.Input("clip", tooltip="The model's CLIP."),
                io.Vae.Input("vae", tooltip="The model's VAE."),
                PersonAdapter.Input(
                    "adapter",
                    tooltip="Where to start: an adapter for any person, from Load Person Adapter.",
                ),
                FaceEmbedding.Input(
                    "faces", tooltip="1 to 16 pictures of the person, from Face Encoder."
                ),
                io.Int.Input(
                    "steps",
                    default=40,
                    min=1,
                    max=2000,
                    tooltip="The paper's 40. More steps later go on from what is there.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.0,
                    min=0.0,
                    max=0.1,
                    step=0.00001,
                    tooltip="Of the branch. 0: what the adapter advises, or the paper's 0.00002.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Which noise and which references each step draws.",
                ),
            ],
            outputs=[
                PersonAdapter.Output(
                    display_name="adapter",
                    tooltip="The person's own. Save Person Adapter keeps it.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, clip, vae, adapter, faces, steps, learning_rate, seed):
        host = hosts.host_of(model)
        tuning = _tuning(adapter, steps, learning_rate, seed)
        with lend(host, model, clip, vae) as base:
            work = Personalization(adapter, faces, base, tuning)
            key = unfinished.key(adapter, faces, work.probe(), tuning)
            kept = unfinished.find(key)
            if kept is not None and int(kept["done"]) <= steps:
                work.resume(kept)
            before = work.done
            show = live_training(cls.hidden.unique_id, steps, vae, host.model_config(model))
            try:
                while work.done < steps:
                    work.step()
                    show(work)
            finally:
                if work.done > before:
                    unfinished.keep(key, work.state())
            made = work.result()
            learned = f"{work.done} steps on {len(faces.vectors)} picture(s)"
            return io.NodeOutput(replace(made, provenance={**made.provenance, "learned": learned}))


def _tuning(adapter, steps, learning_rate, seed):
    advised = adapter.config.get("tuning", {})
    usual = Tuning()
    rate = learning_rate or advised.get("rate", usual.rate)
    share = rate / advised["rate"] if learning_rate and "rate" in advised else 1.0
    word_rate = share * advised.get("word_rate", usual.word_rate)
    return Tuning(steps, rate, word_rate, seed=seed)
