"""The hand benchmark runs whole, small and with random weights; its parts measure what they say."""

import json
import math

import numpy as np
import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from safetensors.torch import save_file

from mannequin.hosts import diffusers as host
from mannequin.hosts.pose_branch import PoseNet, layers_of
from mannequin.lab.benchmarks import hands, hands_painting, mediapipe_hands
from mannequin.lab.benchmarks.hands_measures import core_psnr, iou, seam_energy
from mannequin.lab.training import hands_random, inpaint_random
from mannequin.lab.training.hand_detector import PointNet

PROMISED = {
    "kp_error",
    "kp_error_single",
    "mask_iou",
    "seam_energy",
    "seam_energy_fixed",
    "core_psnr",
    "body_kp_error",
    "body_kp_error_single",
    "cost_ratio",
}


def square():
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    return mask


def test_a_seam_shows_in_the_energy_and_a_smooth_picture_has_none():
    mask = square()
    ramp = torch.linspace(0, 1, 32).view(1, 1, 32, 1).expand(1, 32, 32, 3)
    smooth = float(seam_energy(ramp, mask))
    seam = ramp + 0.5 * mask.unsqueeze(-1)
    assert float(seam_energy(seam, mask)) > 3 * smooth
    assert 0.8 < smooth < 1.25
    assert seam_energy(ramp, torch.zeros(1, 32, 32)).isnan().all()


def test_a_seam_is_looked_for_where_it_is_asked_for():
    mask, lower = square(), torch.zeros(1, 32, 32)
    lower[:, 20:] = 1
    picture = torch.linspace(0, 1, 32).view(1, 1, 32, 1).expand(1, 32, 32, 3).clone()
    picture[:, :12] += 0.5 * mask[:, :12].unsqueeze(-1)
    assert float(seam_energy(picture, mask, lower)) < 0.5 * float(seam_energy(picture, mask))


def test_the_core_is_what_lies_inside_by_a_margin():
    mask, kept = square(), torch.zeros(1, 32, 32, 3)
    picture = torch.ones(1, 32, 32, 3)
    picture[:, 12:20, 12:20] = 0.1
    assert float(core_psnr(picture, kept, mask, 4)) == pytest.approx(20, abs=0.01)
    assert float(core_psnr(picture, kept, mask, 1)) < 10
    assert core_psnr(picture, kept, mask, 9).isnan().all()


def test_masks_overlap_by_their_shared_area():
    other = square().roll(8, 2)
    assert float(iou(square(), other)) == pytest.approx(1 / 3)
    assert float(iou(square(), square())) == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Base, branch, hand model and judges: all random."""
    folder = tmp_path_factory.mktemp("weights")
    base = inpaint_random.build(0, folder / "base.safetensors")
    hand_model = hands_random.build(1, folder / "hands.safetensors")
    model, *_ = host.load_inpaint_model(base)
    net = {"layers": layers_of(host.cross_attention_weights(model)), "widths": [8, 8, 8]}
    net["patch"] = 4
    torch.manual_seed(2)
    branch = folder / "branch.safetensors"
    config = {"family": "mannequin-tiny-pose-branch", "net": net}
    state = {f"branch.{name}": t.clone() for name, t in PoseNet(**net).state_dict().items()}
    save_file(state, branch, {"mannequin": json.dumps(config)})
    judges = []
    for points in (21, 18):
        judges.append(folder / f"{points}.safetensors")
        save_file(PointNet(points).state_dict(), judges[-1])
    return (base, branch, hand_model), tuple(judges)


def test_it_runs_whole(files, tmp_path, monkeypatch):
    monkeypatch.setattr(hands, "FILES", files[0])
    monkeypatch.setattr(hands, "JUDGES", files[1])
    monkeypatch.setattr(hands, "TURNS", 2)
    monkeypatch.setattr(hands_painting, "STEPS", 2)
    monkeypatch.setattr(hands_painting, "HAND_STEPS", 1)
    figures = hands.run(0, tmp_path / "hands.json", pairs=2)
    assert set(figures) >= PROMISED
    lost = [name for name, value in figures.items() if not math.isfinite(value)]
    assert set(lost) <= {"core_psnr", "seam_energy", "seam_energy_fixed"}  # of a random mask
    written = json.loads((tmp_path / "hands.json").read_text())
    assert written["people"] == 2 and written["kp_error"] == figures["kp_error"]
    assert "| cost_ratio |" in (tmp_path / "hands.md").read_text()
    assert (tmp_path / "hands.jpg").stat().st_size and (tmp_path / "hands_bodies.jpg").is_file()
    with np.load(tmp_path / "hands.npz") as left:
        assert left["two"].shape == (2, 64, 64, 3) and left["points"].shape == (2, 21, 3)
        seen = mediapipe_hands.measure(dict(left), lambda picture: np.full((21, 2), 0.5))
    assert seen["pictures"] == 2 and seen["seen_single"] == 1
    assert 0 < seen["error_two"] == seen["error_real"] < 1


def test_another_finder_is_measured_where_it_sees_a_hand():
    stored = {kind: np.zeros((3, 8, 8, 3), np.uint8) for kind in mediapipe_hands.KINDS}
    stored["points"] = np.full((3, 21, 3), 4.0)
    stored["points"][2, :, 2] = 0  # nothing of it is in the picture
    stored["single"][:2] = 255

    def find(picture):
        return None if picture.max() else np.full((21, 2), [0.8, 0.9])

    figures = mediapipe_hands.measure(stored, find)
    assert figures["seen_single"] == 0.3333 and figures["seen_two"] == 1
    assert figures["error_two"] == 0.5  # of the two hands that are in the picture
    assert figures["error_single"] is None
