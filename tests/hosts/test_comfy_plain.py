"""Our node on a plain checkpoint of a real ComfyUI, beside a neighbour like IPAdapter."""

import math

import pytest
import torch

SITES, STEPS = 7, 3


@pytest.fixture(scope="module")
def out(comfy_child, person_file):
    return comfy_child("plain_child.py", person_file)


def far(a, b):
    return bool((a - b).abs().max() > 0.02 * b.abs().max())


def test_a_plain_checkpoint_looks_at_a_reference(out):
    assert far(out["looking"], out["plain"])
    assert torch.equal(out["strength_0"], out["plain"])
    assert out["flow"].shape == (1, 1, 16, 12, 2)


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_neighbour_on_cross_attention_is_kept(out, order):
    composed = out[f"neighbour_{order}"]
    assert torch.equal(composed, out["neighbour_before"])
    assert far(composed, out["looking"])
    assert far(composed, out["neighbour"])
    assert out[f"calls_{order}"].tolist() == out["calls"].tolist() == [SITES * STEPS] * 2
    assert far(out[f"weak_{order}"], composed), "the neighbour's own weight counts"


@pytest.mark.parametrize("order", ["before", "after"])
def test_we_never_take_the_slot_of_cross_attention(out, order):
    assert out[f"slots_{order}"].tolist() == [True] * SITES


def test_nothing_leaks_into_the_plain_checkpoint(out):
    assert torch.equal(out["plain_again"], out["plain"])


def test_references_count_in_the_memory_that_comfyui_keeps_free(out):
    plain, strength_0, looking = out["asked"].tolist()
    assert strength_0 == plain
    more = out["reference_cells"].item() / (16 * 12)
    assert looking == pytest.approx(plain * (1 + math.ceil(more)))
