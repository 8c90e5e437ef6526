"""Whose attention runs on a real ComfyUI: the user's choice wherever nothing more is asked for."""

import re

import pytest
import torch

PLAIN = {"plain": [[5, 6]], "reference": [[5, 13]], "joint": [[5, 13]], "mixture": [[5, 6], [5, 7]]}
MORE = ["moments", "strength", "queries", "flow"]


@pytest.fixture(scope="module")
def out(comfy_child, person_file):
    return comfy_child("attention_child.py", person_file)


@pytest.mark.parametrize("call", PLAIN)
def test_plain_calls_reach_comfyuis_attention(out, call):
    assert out[f"{call}_calls"].tolist() == PLAIN[call]
    torch.testing.assert_close(out[f"{call}_ours"], out[f"{call}_exact"])


@pytest.mark.parametrize("call", MORE)
def test_calls_for_more_do_not(out, call):
    assert not len(out[f"{call}_calls"])
    torch.testing.assert_close(out[f"{call}_ours"], out[f"{call}_exact"])


def test_looking_at_a_reference_uses_the_users_choice(out):
    assert out["looking_longer"] > 0


def test_recording_the_flow_takes_over_and_paints_the_same(out):
    assert out["recording_longer"] < out["looking_longer"]
    assert (out["recording"] - out["looking"]).abs().max() < 1e-3 * out["looking"].abs().max()


def test_a_choice_that_fails_is_left_out(out):
    torch.testing.assert_close(out["after_failing"], out["plain_exact"])
    assert out["asked_after_failing"] == 0


def report(server, with_model: bool) -> list[str]:
    """The calls' blocks of lines that Preview as Text shows of the node's report."""
    inputs = {"model": ["model", 0]} if with_model else {}
    prompt = {
        "report": {"class_type": "MannequinAttentionBackend", "inputs": inputs},
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["report", 0]}},
    }
    if with_model:
        prompt["model"] = {
            "class_type": "MannequinLoadPersonModel",
            "inputs": {"model_name": "random.safetensors"},
        }
    history = server.run(prompt)
    assert history["status"]["status_str"] == "success", history["status"]["messages"][-1]
    (text,) = history["outputs"]["shown"]["text"]
    return text.split("\n\n")


@pytest.mark.parametrize("with_model", [False, True])
def test_the_node_names_the_backend_and_why(server, with_model):
    where, *blocks = report(server, with_model)
    assert where == "cpu, float32, heads of 40"
    calls = {block.split(":")[0]: block for block in blocks}
    assert calls["plain attention"].startswith("plain attention: comfy (the host's own attention)")
    assert calls["with a reference"].startswith("with a reference: comfy (")
    recorded = calls["with a reference, flow recorded"]
    assert re.match(r"with a reference, flow recorded: (merged|sdpa) \(", recorded)
    assert "\n    comfy: plain attention only, not moments" in recorded
    assert "\n    eager: would run, but one before it does" in recorded
    assert re.search(r"\n    triton: (needs an NVIDIA or AMD GPU, not cpu|Triton is not)", recorded)
    assert "unmeasured" in blocks[-1]
