"""hosts/comfy.py on a real ComfyUI, against the embedded host with the same weights and seed."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mannequin.hosts import diffusers as embedded
from mannequin.lab.training import models
from mannequin.methods.flow_record import FlowRecord
from mannequin.methods.leffa import Leffa, Reference
from mannequin.methods.site import Method

CHILD = Path(__file__).with_name("comfy_child.py")


@pytest.fixture(scope="module")
def given():
    """Two references for one picture of 128 x 96, everything random."""
    rng = torch.Generator().manual_seed(0)
    config = models.person_config()
    channels = config["latent_channels"]
    pose = config["unet_encoder"]["in_channels"] - channels
    grid = (128 // config["downscale"], 96 // config["downscale"])
    return {
        "image": torch.rand(2, 128, 96, 3, generator=rng),
        "latent": torch.randn(1, channels, *grid, generator=rng),
        "ref_latent": torch.randn(1, 2, channels, *grid, generator=rng),
        "ref_pose": torch.rand(1, 2, pose, *grid, generator=rng),
        "concat": torch.randn(1, 1 + channels + pose, *grid, generator=rng),
    }


@pytest.fixture(scope="module")
def comfy_run(comfyui, comfy_python, person_file, given, tmp_path_factory):
    """What ComfyUI made of every case: (tensors, metadata)."""
    folder = tmp_path_factory.mktemp("comfy")
    inputs, outputs = folder / "in.safetensors", folder / "out.safetensors"
    save_file(given, inputs)
    done = subprocess.run(
        [comfy_python, CHILD, comfyui, person_file, inputs, outputs],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with safe_open(outputs, "pt") as file:
        metadata = file.metadata()
    return load_file(outputs), metadata


@pytest.fixture(scope="module")
def ours(person_file):
    return embedded.load_person_model(person_file)


@pytest.fixture(scope="module")
def sample(ours, given):
    """Samples on the embedded host."""

    class Unseen(Method):
        shows_references = True

    def run(strength=None, mask=None, cfg=2.5, record=None):
        model = embedded.patch(ours[0], Unseen())
        if strength is not None:
            reference = Reference(given["image"], given["ref_latent"], given["ref_pose"])
            model = embedded.patch(model, Leffa(reference, strength, observer=record))
        cond = [[torch.zeros(1, 1, 1), {"noise_concat": given["concat"]}]]
        latent = {"samples": given["latent"]}
        if mask is not None:
            latent["noise_mask"] = mask
        with torch.inference_mode():
            done = embedded.sample(model, 7, 3, cfg, "euler", "simple", cond, cond, latent)
        return done["samples"]

    return run


def assert_same(a, b, tolerance=1e-3):
    """At a first noise level of 4500, float32 leaves about 1e-4 of a latent of size 4."""
    assert (a - b).abs().max() < tolerance * b.abs().max()


def test_autoencoder_is_the_same(comfy_run, ours, given):
    _, vae = ours
    with torch.inference_mode():
        assert_same(comfy_run[0]["encoded"], vae.encode(given["image"]), 1e-5)
        assert_same(comfy_run[0]["decoded"], vae.decode(given["latent"]), 1e-5)


def test_comfyui_previews_the_mean_colour_of_every_patch(comfy_run):
    out, _ = comfy_run
    shown = out["preview_of_faint"].float() / 255
    patches = torch.nn.functional.avg_pool2d(out["faint"][0].movedim(-1, 0), 4).movedim(0, -1)
    assert patches.std() > 0.02
    torch.testing.assert_close(shown, patches, atol=1.5 / 255, rtol=0)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("plain", {}),
        ("strength_1", {"strength": 1.0}),
        ("strength_half", {"strength": 0.5}),
        ("unguided", {"strength": 1.0, "cfg": 1.0}),
    ],
)
def test_samples_are_the_same(comfy_run, sample, case, options):
    assert_same(comfy_run[0][case], sample(**options))


def test_masked_samples_are_the_same(comfy_run, sample, given):
    mask = torch.zeros(1, 128, 96)
    mask[:, 32:96, 24:72] = 1
    masked = comfy_run[0]["masked"]
    assert_same(masked, sample(1.0, mask))
    assert_same(masked[..., :8, :], given["latent"][..., :8, :])


def test_recorded_flow_is_the_same(comfy_run, sample):
    record = FlowRecord()
    assert_same(comfy_run[0]["recorded"], sample(1.0, record=record))
    assert_same(comfy_run[0]["recorded_xy"], record.field().xy, 1e-2)


def test_strength_zero_is_bit_identical_and_nothing_leaks(comfy_run):
    out, _ = comfy_run
    assert torch.equal(out["strength_0"], out["plain"])
    assert torch.equal(out["plain_again"], out["plain"])
    assert not torch.equal(out["strength_1"], out["plain"])


def test_neighbouring_pack_is_kept_in_either_order(comfy_run):
    out, _ = comfy_run
    assert torch.equal(out["neighbour_outside"], out["neighbour_inside"])
    assert not torch.equal(out["neighbour_outside"], out["strength_1"])
    assert not torch.equal(out["neighbour_outside"], out["neighbour_alone"])
    patches, replacements = out["calls_outside"].tolist()
    assert patches > 0
    assert replacements > 0
    assert out["calls_inside"].tolist() == [patches, replacements]


def test_hooks_outside_the_network(comfy_run, given):
    out, _ = comfy_run
    assert_same(out["halved"], out["plain"] * 0.5, 1e-5)
    assert_same(out["all_kept"], given["latent"])


def test_sampling_without_a_reference_says_what_to_do(comfy_run):
    assert "none is connected. Put Flow-Guided Attention between" in comfy_run[1]["error"]
