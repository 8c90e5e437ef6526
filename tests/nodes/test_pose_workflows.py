"""The workflows of pose alignment and guidance, run with random weights."""

import json

import torch

from mannequin.headless import run_workflow
from mannequin.lab.people.examples import openpose
from mannequin.lab.workflows import ROOT

INPUTS = ROOT / "inputs"


def output(result, prompt, title, index=0):
    key = next(key for key, node in prompt.items() if node["_meta"]["title"] == title)
    return result.outputs[key][index]


def test_a_pose_transfer_is_aligned(prompt_for, tmp_path):
    prompt = prompt_for("pose_transfer_aligned")
    result = run_workflow(prompt, {"Sample.steps": 2}, tmp_path)
    assert {path.name for path in result.images} == {
        "pose_transfer_aligned_00001_.png",
        "pose_transfer_aligned_detail_00001_.png",
    }
    assert output(result, prompt, "Decode").shape == (1, 128, 96, 3)
    assert output(result, prompt, "Alignment preview").shape == (1, 512, 4 * 192, 3)


def test_guidance_is_reported_and_the_result_is_checked(prompt_for, tmp_path):
    prompt = prompt_for("pose_guidance")
    result = run_workflow(prompt, {"Sample.steps": 3}, tmp_path)
    lines = output(result, prompt, "Guidance preview", 1).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    overlay, pck, error, table = (output(result, prompt, "Pose check", k) for k in range(4))
    assert overlay.shape == (1, 768, 576, 3) and 0 <= pck <= 1
    assert error != 0  # it was not the target itself that was measured
    assert "picture 1" in table


def test_nine_poses_in_one_batch(prompt_for, tmp_path):
    prompt = prompt_for("pose_sheet")
    result = run_workflow(prompt, {"Sample.steps": 1}, tmp_path)
    poses = output(result, prompt, "Load target pose")
    assert poses.shape == (9, 128, 96, 3)
    assert len({pose.numpy().tobytes() for pose in poses}) == 9
    assert len(result.images) == 9
    assert output(result, prompt, "Decode").shape == (9, 128, 96, 3)
    assert output(result, prompt, "Alignment preview").shape[0] == 9
    assert output(result, prompt, "Pose check", 3).count("picture") == 9
    assert len(output(result, prompt, "Target keypoints")) == 9


def test_the_keypoints_of_the_examples_are_their_truth():
    truth = json.loads((INPUTS / "truth.json").read_text(encoding="utf-8"))
    for name, facts, poses in (
        ("person_a_nine_poses", "pose_sheet", 9),
        ("person_a_target_pose", "pose_transfer", 1),
    ):
        points = torch.tensor(truth[facts]["target_keypoints"]).reshape(-1, 18, 3)
        frames = json.loads((INPUTS / f"{name}.json").read_text(encoding="utf-8"))
        assert frames == openpose(points.numpy(), 128, 96) and len(frames) == poses
        flat = [frame["people"][0]["pose_keypoints_2d"] for frame in frames]
        told = torch.tensor(flat).reshape(-1, 18, 3)
        inside = (points[..., 0] < 96) & (points[..., 1] < 128) & (points[..., :2] >= 0).all(-1)
        assert torch.equal(told[..., 2] > 0, inside)
        assert (told[inside][:, :2] - points[inside][:, :2]).abs().max() <= 0.051
