"""Learned words in the CLIPs of SD1.5, SD2 and SDXL on a real ComfyUI; see `words_child.py`."""

import pytest
import torch


@pytest.fixture(scope="module")
def out(comfy_child, person_file):
    return comfy_child("words_child.py", person_file)


def far(a, b):
    return a.shape != b.shape or bool((a - b).abs().max() > 0.01)


families = pytest.mark.parametrize("name", ["1", "2", "xl"])


@families
def test_a_known_words_vector_says_that_word(out, name):
    for prompt in ("plain", "weighted", "glued", "long"):
        said, like = out[f"{name}_{prompt}_word"], out[f"{name}_{prompt}_like"]
        assert torch.equal(said, like), prompt
    assert out[f"{name}_long_word"].shape[1] == 154
    assert far(out[f"{name}_plain_word"], out[f"{name}_without"]), "the CLIP given is as it was"
    assert torch.equal(out[f"{name}_again"], out[f"{name}_again_like"])
    assert torch.equal(out[f"{name}_layer"], out[f"{name}_layer_like"])
    assert far(out[f"{name}_layer"], out[f"{name}_plain_word"])


@families
def test_the_gradient_is_the_slope(out, name):
    gradient, slope = out[f"{name}_slope"].tolist()
    assert gradient == pytest.approx(slope, rel=0.02) and gradient > 0.1
    assert torch.allclose(out[f"{name}_trained"], out[f"{name}_plain_word"][0], atol=1e-5)
    assert torch.allclose(out[f"{name}_trained_plain"], out[f"{name}_face"][0], atol=1e-5)


def test_the_word_learns_where_the_adapter_has_one(out):
    assert (out["tuned"] - out["start"]).abs().max() > 1e-4
    assert not out["wordless"]
    assert torch.equal(out["by_node"], out["by_hand"])
    assert far(out["by_node"], out["1_without"])


def test_where_a_word_has_no_place_is_told(out):
    def message(name):
        return bytes(out[f"error_{name}"].tolist()).decode()

    assert "one of SD1.5, SD2 or SDXL; got one with SimpleNamespace" in message("flux")
    assert "learned with 32 values; this CLIP's words have 96" in message("width")
