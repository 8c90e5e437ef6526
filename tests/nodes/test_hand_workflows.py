"""The workflows of hands, run with random weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mannequin.headless import run_workflow
from mannequin.lab.hand_workflows import SKIN, WHO
from mannequin.lab.people.examples import openpose
from mannequin.lab.workflows import ROOT

INPUTS = ROOT / "inputs"


def picture(name):
    with Image.open(INPUTS / f"{name}.png") as opened:
        return torch.from_numpy(np.asarray(opened.convert("RGB")).astype(np.float32) / 255)


def output(result, prompt, title, index=0):
    key = next(key for key, node in prompt.items() if node["_meta"]["title"] == title)
    return result.outputs[key][index]


def given(prompt, title):
    """The inputs of the node with this title, to change."""
    return next(node["inputs"] for node in prompt.values() if node["_meta"]["title"] == title)


@pytest.fixture
def prompt_for(prompt_of, random_files):
    """prompt_for(name): a workflow with random weights; what names no file goes without one."""

    def prompt_for(name):
        prompt = prompt_of(name)
        for node in prompt.values():
            files = random_files.get(node["class_type"], {})
            without = [key for key, value in node["inputs"].items() if value == "none"]
            node["inputs"].update({k: v for k, v in files.items() if k not in without})
        return prompt

    return prompt_for


def test_hands_come_first_and_the_body_after(prompt_for, tmp_path):
    prompt = prompt_for("hands_then_body")
    assert given(prompt, "Outpaint blender")["pose_branch"].startswith("random")
    few = {"Sample.steps": 2, "Hand stage.steps": 2}
    result = run_workflow(prompt, few, tmp_path)
    hands = output(result, prompt, "Hand pose")
    assert [hand.left for hand in hands.hands] == [True, False] and len(hands.bodies[0]) == 1
    assert output(result, prompt, "Hand stage").shape == (2, 64, 64, 3)
    mask = output(result, prompt, "Outpaint blender", 2)
    assert mask.shape == (1, 128, 96) and 0 < (mask < 1).float().mean() < 0.5
    assert output(result, prompt, "Outpaint blender", 3).shape == (1, 128, 6 * 96, 3)
    painted = output(result, prompt, "Decode").clone()
    assert painted.shape == (1, 128, 96, 3)
    assert "hands_then_body_00001_.png" in {path.name for path in result.images}
    other = run_workflow(prompt, {**few, "Outpaint blender.pose_strength": 0.0}, tmp_path)
    assert not torch.equal(output(other, prompt, "Decode"), painted)


def test_both_hands_are_repaired_and_nothing_else(prompt_for, tmp_path):
    prompt = prompt_for("hand_repair")
    result = run_workflow(prompt, {"Hand repair.steps": 1}, tmp_path)
    before, after = output(result, prompt, "Load picture"), output(result, prompt, "Hand repair")
    mask = output(result, prompt, "Hand repair", 1)
    assert after.shape == (1, 384, 288, 3)
    assert torch.equal(after[mask == 0], before[mask == 0])
    for hand in output(result, prompt, "Hand pose").hands:
        left, top, side = hand.window
        window = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
        changed = (after[0] != before[0]).any(-1)[window]
        assert changed[mask[0][window] == 1].float().mean() > 0.9
    assert output(result, prompt, "Hand repair", 2).shape == (2, 64, 64, 3)
    broken = (before[0] - picture("person_c_target")).abs().amax(-1) > 0.1
    assert broken.sum() > 500
    assert mask[0][broken].mean() > 0.97  # what is broken is within reach


def test_hands_survive_a_try_on_whose_mask_covers_them(prompt_for, tmp_path):
    prompt = prompt_for("try_on_hands")
    assert given(prompt, "Outpaint blender")["pose_branch"] == "none"
    few = {"Sample.steps": 2, "Hand stage.steps": 2}
    result = run_workflow(prompt, few, tmp_path)
    person, worn = output(result, prompt, "Load person"), output(result, prompt, "Paste back")
    covered = output(result, prompt, "Load garment mask")
    kept = output(result, prompt, "Where the hands are")
    repainted = output(result, prompt, "Person conditioning", 3)
    assert torch.equal(repainted, covered * (1 - kept))
    assert (covered * kept).any()
    assert ((worn - person).abs().amax(-1) <= covered * (1 - kept) + 1e-6).all()
    assert torch.equal(worn[covered == 0], person[covered == 0])
    assert (worn != person).any(-1)[repainted == 1].float().mean() > 0.9


def test_hidden_hands_are_left_to_the_try_on(prompt_for, tmp_path):
    prompt = prompt_for("try_on_hands")
    pose = given(prompt, "Hand pose")
    frames = json.loads(pose["keypoint_json"])
    for side in ("left", "right"):
        frames[0]["people"][0][f"hand_{side}_keypoints_2d"] = [0.0] * 63
    pose["keypoint_json"] = json.dumps(frames)
    result = run_workflow(prompt, {"Sample.steps": 1, "Hand stage.steps": 1}, tmp_path)
    assert not output(result, prompt, "Where the hands are").any()
    covered = output(result, prompt, "Load garment mask")
    assert torch.equal(output(result, prompt, "Person conditioning", 3), covered)


def test_the_example_is_its_truth_and_the_words_are_about_it():
    truth = json.loads((INPUTS / "truth.json").read_text(encoding="utf-8"))["hands"]
    joints, hands = (np.array(truth[name])[None] for name in ("target_keypoints", "target_hands"))
    frames = json.loads((INPUTS / "person_c_hands.json").read_text(encoding="utf-8"))
    assert frames == openpose(joints, 384, 288, hands)
    told = frames[0]["people"][0]
    left = np.array(told["hand_left_keypoints_2d"]).reshape(21, 3)
    assert np.abs(left[:, :2] - hands[0, 0, :, :2]).max() <= 0.051
    assert ((left[:, 2] == 1) == (hands[0, 0, :, 2] > 0)).all()
    assert (truth["caption"], truth["skin"]) == (WHO, SKIN)


def test_the_mask_of_the_try_on_covers_both_hands():
    truth = json.loads((INPUTS / "truth.json").read_text(encoding="utf-8"))["hands"]
    covered = picture("person_c_arms_mask")[..., 0]
    for points in np.array(truth["target_hands"]) / 3:
        seen = points[points[:, 2] > 0, :2].astype(int)
        assert len(seen) > 10
        assert covered[seen[:, 1], seen[:, 0]].all()
