"""A person model's life in a real ComfyUI: dtypes, little VRAM, unloading, release."""

import pytest
import torch


@pytest.fixture(scope="module")
def out(comfy_child, person_file):
    return comfy_child("lifecycle_child.py", person_file)


def test_both_networks_are_loaded_and_unloaded_by_comfyui(out):
    assert out["both_loaded"]
    assert out["none_loaded"]
    assert torch.equal(out["after_unloading"], out["looking"])


def test_with_hardly_any_vram_the_picture_is_the_same(out):
    assert out["reference_offloaded"]
    assert torch.equal(out["novram"], out["looking"])
    assert torch.equal(out["after_novram"], out["looking"])


def test_a_second_copy_of_the_model_disturbs_nothing(out):
    assert torch.equal(out["second_copy"], out["looking"])
    assert torch.equal(out["first_after_second"], out["looking"])


def test_everything_is_gone_when_the_model_is_released(out):
    assert out["released"].all(), out["released"]
    assert out["still_loaded"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "bytes_each", "error"), [("--fp16-unet", 2, 0.02), ("--bf16-unet", 2, 0.1)]
)
def test_other_precisions_give_similar_pictures(
    out, comfy_child, person_file, flag, bytes_each, error
):
    other = comfy_child("lifecycle_child.py", person_file, flag)
    assert out["dtype"] == 4
    assert other["dtype"] == bytes_each
    assert other["looking"].isfinite().all()
    difference = (other["looking"] - out["looking"]).square().mean().sqrt()
    assert difference < error * out["looking"].square().mean().sqrt()
