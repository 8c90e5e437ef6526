"""Our nodes on a real ComfyUI together with LoRA, ControlNet, merging, batches, and each other.

`composition_child.py` says how each case is made.
"""

import pytest
import torch


@pytest.fixture(scope="module")
def out(comfy_child, person_file):
    return comfy_child("composition_child.py", person_file)


def same(a, b, tolerance=1e-3):
    """At a first noise level of 4500, float32 leaves about 1e-4 of a latent of size 4."""
    return bool((a - b).abs().max() < tolerance * b.abs().max())


def far(a, b):
    return bool((a - b).abs().max() > 0.02 * b.abs().max())


@pytest.mark.parametrize("naming", ["kohya", "diffusers"])
def test_lora_and_our_node_both_count_in_either_order(out, naming):
    composed = out[f"lora_{naming}_before"]
    assert torch.equal(composed, out[f"lora_{naming}_after"])
    assert far(composed, out["looking"])
    assert far(composed, out["lora_alone"])
    assert torch.equal(composed, out["lora_kohya_before"])


def test_lora_at_strength_zero_is_bit_identical(out):
    assert torch.equal(out["lora_strength_0"], out["looking"])
    assert torch.equal(out["lora_patched_at_0"], out["looking"])


def test_nothing_of_a_lora_stays(out):
    assert torch.equal(out["looking_after_lora"], out["looking"])
    assert out["weights_restored"]


def test_flow_is_recorded_when_a_lora_comes_after_our_node(out):
    assert out["flow_under_lora"].shape == (1, 1, 32, 24, 2)


def test_control_net_and_our_node_both_count(out):
    assert far(out["control"], out["looking"])
    assert far(out["control"], out["control_alone"])
    assert far(out["control_and_lora"], out["control"])
    assert torch.equal(out["control_strength_0"], out["looking"])


def test_a_batch_of_two_is_its_two_pictures(out):
    assert out["batch"].shape[0] == 2
    for i in range(2):
        assert same(out["batch"][i : i + 1], out[f"single_{i}"], 1e-4)
    assert far(out["batch"][:1], out["batch"][1:])


def test_two_references_in_two_nodes_both_count_in_either_order(out):
    assert same(out["stacked_ab"], out["stacked_ba"])
    assert far(out["stacked_ab"], out["looking"])
    assert far(out["stacked_ab"], out["looking_at_another"])


@pytest.mark.parametrize("case", ["one_scaled", "both_scaled"])
def test_the_strength_of_each_of_two_nodes_is_its_own(out, case):
    assert same(out[f"{case}_ab"], out[f"{case}_ba"])
    assert far(out[f"{case}_ab"], out["stacked_ab"])
    assert far(out["both_scaled_ab"], out["one_scaled_ab"])


def test_each_of_two_nodes_records_its_own_flow(out):
    for case in ("one_recorded", "both_recorded"):
        assert same(out[f"{case}_ab"], out["stacked_ab"])
        assert same(out[f"{case}_ba"], out["stacked_ab"])
    flow = out["one_recorded_ab_flow_a"]
    for key in ("one_recorded_ba", "both_recorded_ab", "both_recorded_ba"):
        assert same(out[f"{key}_flow_a"], flow, 1e-2)
    assert same(out["both_recorded_ab_flow_b"], out["both_recorded_ba_flow_b"], 1e-2)
    assert not same(out["both_recorded_ab_flow_b"], flow, 1e-2)


def test_merging_keeps_our_patches(out):
    assert torch.equal(out["merged_1.0"], out["looking"])
    assert torch.equal(out["merged_0.0"], out["second"])
    for ratio in ("0.0", "0.5", "1.0"):
        assert torch.equal(out[f"merged_{ratio}"], out[f"merged_{ratio}_after"])
    assert far(out["merged_0.5"], out["looking"])
    assert far(out["merged_0.5"], out["second"])


def test_a_lora_paints_only_inside_the_mask(out):
    kept = out["masked_start"][..., :7, :]
    assert same(out["masked"][..., :7, :], kept, 1e-6)
    assert same(out["masked_with_lora"][..., :7, :], kept, 1e-6)
    assert far(out["masked_with_lora"], out["masked"])


def test_nothing_leaks_into_the_next_run(out):
    assert torch.equal(out["plain_again"], out["plain"])
    assert torch.equal(out["looking_again"], out["looking"])
    assert far(out["looking"], out["plain"])


def test_a_neighbour_that_replaces_cross_attention_is_told_that_there_is_none(out):
    message = bytes(out["refused"].tolist()).decode()
    assert "this person model reads no text" in message
    assert "use it with a plain checkpoint" in message
