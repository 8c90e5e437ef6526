"""The workflows of mixture-of-attention, run with random weights; and a run backwards and forth."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mannequin.headless import NodeError, folders, run_workflow


def titled(prompt, title):
    return next(key for key, node in prompt.items() if node["_meta"]["title"] == title)


def given(prompt, title):
    """The inputs of the node with this title, to change."""
    return prompt[titled(prompt, title)]["inputs"]


def output(result, prompt, title, index=0):
    return result.outputs[titled(prompt, title)][index]


def test_two_people_in_one_scene(prompt_for, tmp_path):
    prompt = prompt_for("two_people_one_scene")
    result = run_workflow(prompt, {"Sample.steps": 2}, tmp_path)
    painted = output(result, prompt, "Decode")
    assert painted.shape == (1, 64, 128, 3)
    drawn, mask = (output(result, prompt, "Route preview", k) for k in (0, 1))
    assert drawn.shape == (1, 512, 1024, 3) and mask.shape == (1, 64, 128)
    assert output(result, prompt, "MoA router", 2).words == ("woman", "man")
    with pytest.raises(NodeError, match=r'"MoA router".*the word \'woman\' at least once'):
        run_workflow(prompt, {"MoA router.prompt": "a scene of a man"}, tmp_path)


def test_a_morph_is_between_two_people(prompt_for, tmp_path):
    prompt = prompt_for("subject_morph")
    seen = []
    for share in (0.0, 0.5, 1.0):
        settings = {"Sample.steps": 1, "Between them.morph": share}
        result = run_workflow(prompt, settings, tmp_path)
        (person,) = output(result, prompt, "Between them")
        seen.append((person.faces.vectors, output(result, prompt, "Decode").clone()))
    (first, a), (middle, between), (second, b) = seen
    assert not torch.equal(first, second)
    close = [torch.cosine_similarity(middle, one, -1).mean() for one in (first, second)]
    assert min(close) > torch.cosine_similarity(first, second, -1).mean()
    assert not torch.equal(between, a) and not torch.equal(between, b)


def test_a_swap_changes_one_person_alone(prompt_for, tmp_path):
    prompt = prompt_for("swap_subject")
    few = {"Noise levels.steps": 4, "Without the last level.step": 3}
    result = run_workflow(prompt, few, tmp_path)
    before, after = output(result, prompt, "Load picture"), output(result, prompt, "Paste")
    mask = output(result, prompt, "Route preview", 1)
    place = output(result, prompt, "Load place")
    assert torch.equal(after[mask == 0], before[mask == 0])
    assert mask[place > 0].mean() > 3 * mask[place == 0].mean()
    assert (mask == 0).float().mean() > 0.25
    assert (after != before).any(-1)[place > 0].float().mean() > 0.9
    levels, flipped = output(result, prompt, "Noise levels"), output(result, prompt, "Flip")
    assert torch.equal(flipped, levels[:-1].flip(0)) and len(levels) == 5


@pytest.fixture
def almost_constant(inpaint_model, tmp_path):
    """An inpainting model that predicts nearly the same picture at all noise levels, so that few
    steps lead back exactly; with other random weights it takes hundreds.
    """
    before = folders.get_full_path("mannequin_inpaint", inpaint_model)
    tensors = load_file(before)
    tensors["unet.conv_out.weight"] *= 0.001
    with safe_open(before, framework="pt") as file:
        save_file(tensors, tmp_path / "constant.safetensors", file.metadata())
    folders.add_model_folder_path("mannequin_inpaint", str(tmp_path))
    yield "constant.safetensors"
    folders.folder_names_and_paths["mannequin_inpaint"][0].remove(str(tmp_path))


def test_there_and_back_is_where_it_began(prompt_for, almost_constant, tmp_path):
    """DDIM inversion by core nodes alone."""
    prompt = prompt_for("swap_subject")
    given(prompt, "Load inpaint model")["model_name"] = almost_constant
    given(prompt, "Sample")["sigmas"] = [titled(prompt, "Without the last level"), 0]
    for title in ("Route preview", "Paste", "Save result"):
        del prompt[titled(prompt, title)]
    prompt["shown"] = {
        "class_type": "PreviewImage",
        "inputs": {"images": [titled(prompt, "Decode"), 0]},
        "_meta": {"title": "Show"},
    }
    settings = {"Noise levels.steps": 4, "Without the last level.step": 3}
    off = {"MoA router.strength": 0.0, "Sample.cfg": 1.0}
    result = run_workflow(prompt, {**off, **settings}, tmp_path)
    start = output(result, prompt, "Picture and mask", 2)["samples"]
    noise, again = (output(result, prompt, t)["samples"] for t in ("Back to noise", "Sample"))
    assert (noise - start).abs().mean() > 10 * start.abs().mean()
    assert (again - start).abs().mean() < 0.02 * start.abs().mean()
