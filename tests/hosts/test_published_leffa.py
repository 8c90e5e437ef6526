"""Leffa on the embedded host against golden outputs of the published inference code."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open

from mannequin.hosts.sites import Call
from mannequin.hosts.unet import SiteUNet
from mannequin.methods.leffa import Leffa, Reference
from mannequin.methods.site import Step

GOLDEN = Path(__file__).parents[3] / "shared" / "fixtures" / "leffa_sd15_w16.safetensors"
pytestmark = pytest.mark.skipif(
    not GOLDEN.exists(), reason="the golden file of the published code is not beside the project"
)


@pytest.fixture(scope="module")
def golden():
    with safe_open(GOLDEN, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture(scope="module")
def networks(golden):
    tensors, metadata = golden
    config = json.loads(metadata["unet"])
    made = []
    for room in ("unet", "unet_encoder"):
        prefix = f"sd.{room}."
        state = {k[len(prefix) :]: t for k, t in tensors.items() if k.startswith(prefix)}
        unet = UNet2DConditionModel(**{**config, "in_channels": state["conv_in.weight"].shape[1]})
        unet.load_state_dict(state)
        made.append(SiteUNet(unet.train(False).requires_grad_(False)))
    return made


def test_one_denoiser_call_equals_the_published_codes(golden, networks):
    tensors, metadata = golden
    unet, encoder = networks
    inputs = {k[3:]: t for k, t in tensors.items() if k.startswith("in.")}
    step = Step(1.0, 0.0, 0, 1, (False, True))
    size = tuple(inputs["x"].shape[-2:])
    t = torch.full((2,), int(metadata["timestep"]))
    reference = Reference(
        torch.empty(0), inputs["ref"][:, None], inputs["ref"].new_zeros(1, 1, 0, *size)
    )
    method = Leffa(reference)
    with torch.inference_mode():
        method.prepare(step, lambda x, _: encoder.features(x, t[: len(x)], Call(step, size)))
        parts = [inputs[k] for k in ("x", "mask", "masked", "densepose")]
        x = torch.cat(parts, 1).expand(2, -1, -1, -1)
        out = unet.forward(x, t, Call(step, size, (method,)))
    features = [tensors[k] for k in sorted(tensors) if k.startswith("out.feature.")]
    assert len(method.bank) == len(features) == 16
    for ours, theirs in zip(method.bank.values(), features, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    error = (out - tensors["out.forward_uncond_cond"]).abs().max()
    assert error <= 1e-5
