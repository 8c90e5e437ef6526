"""The core sampling nodes: published sampling, end to end on random weights."""

import numpy as np
import pytest
from PIL import Image

from mannequin.headless import run_workflow
from mannequin.headless.engine import Engine
from mannequin.headless.progress import Progress
from mannequin.headless.registry import registry
from mannequin.lab.training import models


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    registry()
    import folder_paths

    folder = tmp_path_factory.mktemp("models")
    models.build(3, folder / "published.safetensors")
    folder_paths.add_model_folder_path("mannequin", str(folder))
    yield Engine(registry())
    folder_paths.folder_names_and_paths["mannequin"][0].remove(str(folder))


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture
def prompt():
    """Pose transfer as published: ddpm along diffusers' noise levels with rescaled guidance."""
    model, vae = ["model", 0], ["model", 1]
    return {
        "model": node("MannequinLoadPersonModel", model_name="published.safetensors"),
        "person": node("LoadImage", image="person_a.png"),
        "pose": node("LoadImage", image="person_a_dense_pose.png"),
        "target": node("LoadImage", image="person_a_target_pose.png"),
        "reference": node(
            "MannequinReferenceEncoder",
            model=model,
            vae=vae,
            image=["person", 0],
            dense_pose=["pose", 0],
        ),
        "conditioning": node(
            "MannequinPersonConditioning", model=model, vae=vae, dense_pose=["target", 0]
        ),
        "attention": node(
            "MannequinFlowGuidedAttention",
            model=model,
            reference=["reference", 0],
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
            record_flow=False,
        ),
        "rescale": node("MannequinGuidanceRescale", model=["attention", 0], strength=1.0),
        "sampler": node("KSamplerSelect", sampler_name="ddpm"),
        "sigmas": node("MannequinDiffusersScheduler", model=model, steps=3, denoise=1.0),
        "sample": node(
            "SamplerCustom",
            model=["rescale", 0],
            add_noise=True,
            noise_seed=7,
            cfg=2.5,
            positive=["conditioning", 0],
            negative=["conditioning", 1],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["conditioning", 2],
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=vae),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="published"),
    }


@pytest.fixture
def run(engine, prompt, tmp_path):
    """Runs it with settings; the picture as an array."""

    def call(settings=None, seed=None, progress=None):
        done = run_workflow(prompt, settings, tmp_path, seed=seed, progress=progress, engine=engine)
        return np.asarray(Image.open(done.images[0]), dtype=np.int16)

    return call


def test_published_sampling_takes_exactly_its_steps_and_the_seed_fixes_it(run):
    heard = []

    class Ears(Progress):
        def stepped(self, node, value, total):
            heard.append((node.id, value, total))

    first = run(progress=Ears())
    assert [step for step in heard if step[0] == "sample"] == [("sample", n, 3) for n in (1, 2, 3)]
    assert abs(first - run()).max() == 0
    assert abs(first - run(seed=8)).max() > 0
    assert abs(first - run({"rescale.strength": 0.0})).max() > 0


def test_without_added_noise_the_seed_only_matters_to_samplers_that_add_their_own(run):
    quiet = {"sample.add_noise": False, "sampler.sampler_name": "euler"}
    assert abs(run(quiet) - run(quiet, seed=8)).max() == 0
    quiet["sampler.sampler_name"] = "ddpm"
    assert abs(run(quiet) - run(quiet, seed=8)).max() > 0


def test_the_second_output_is_the_last_prediction(run, prompt, engine, tmp_path):
    finished = engine.run(prompt)
    samples, denoised = (latent["samples"] for latent in finished.outputs["sample"])
    assert abs(samples - denoised).max() < 1e-4  # the last level is 0: nothing is left to remove
    sigmas = finished.outputs["sigmas"][0]
    assert len(sigmas) == 4 and sigmas[-1] == 0

    from mannequin.headless.sampling_nodes import SamplerCustom

    values = {
        name: finished.outputs[value[0]][value[1]] if isinstance(value, list) else value
        for name, value in prompt["sample"]["inputs"].items()
    }
    half = SamplerCustom.execute(**{**values, "sigmas": sigmas[:3]})
    assert abs(half[0]["samples"] - half[1]["samples"]).max() > 1e-2
    nothing = SamplerCustom.execute(**{**values, "sigmas": sigmas[:0]})
    assert nothing[0]["samples"] is values["latent_image"]["samples"]


def test_ksampler_and_samplercustom_are_one(run, prompt):
    """Diffusers' spacing of 1000 / n steps is ComfyUI's ddim_uniform, so both must agree."""
    given = {"sampler.sampler_name": "euler", "sigmas.steps": 4}
    custom = run(given)
    inputs = prompt["sample"]["inputs"]
    kept = {name: inputs[name] for name in ("model", "positive", "negative", "latent_image", "cfg")}
    prompt["sample"] = node(
        "KSampler",
        **kept,
        seed=inputs["noise_seed"],
        steps=4,
        sampler_name="euler",
        scheduler="ddim_uniform",
        denoise=1.0,
    )
    assert abs(custom - run()).max() <= 1
