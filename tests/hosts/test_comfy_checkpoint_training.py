"""Training inside a graph on checkpoints that ComfyUI opens; see `checkpoint_training_child.py`."""

import pytest
import torch


@pytest.fixture(scope="module")
def out(comfy_child, person_file):
    return comfy_child("checkpoint_training_child.py", person_file)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_predictions_are_comfyuis_and_gradients_the_slope(out, name):
    assert torch.allclose(out[f"{name}_ours"], out[f"{name}_theirs"], atol=1e-5, rtol=1e-4)
    gradient, slope = out[f"{name}_slope"].tolist()
    assert gradient == pytest.approx(slope, rel=0.02) and abs(slope) > 1e-4


def test_every_cross_attention_has_its_weights(out):
    sd15 = {k.removeprefix("sd15_") for k in out if k.startswith("sd15_") and k[5] in "dmu"}
    assert sd15 == {"down.0.0", "down.1.0", "mid.0", "up.1.0", "up.1.1", "up.2.0", "up.2.1"}
    assert out["sd15_down.1.0"].shape == (64, 64)
    sdxl = {k.removeprefix("sdxl_") for k in out if k.startswith("sdxl_") and k[5] in "dmu"}
    assert sdxl == {
        f"{place}{second}" for place in ("down.1.0", "up.1.0", "up.1.1") for second in ("", ".1")
    } | {"mid.0"}


def test_an_inpainting_checkpoint_is_told_by_its_own_rule(out):
    channels = out["channels"]
    assert channels.shape == (1, 5, 8, 6)
    assert channels[0, 0].sum() == 6 and set(channels[0, 0].unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(channels[:, 1:], out["picture"] * out["scale"])


def test_texts_of_another_clip_are_brought_to_one_length(out):
    assert out["texts"].shape == (2, 154, 3)
    assert out["usable"]


def test_what_cannot_be_trained_is_named(out):
    assert "Expected a model with a UNet" in bytes(out["error"].tolist()).decode()
