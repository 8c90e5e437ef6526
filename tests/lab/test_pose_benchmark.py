"""The pose benchmark runs whole, small and with random weights; its parts do what they say."""

import json
import math

import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from safetensors.torch import save_file

from mannequin.hosts import diffusers as host
from mannequin.hosts.aligner import Aligner, AlignerNet, aligner_config, write_aligner
from mannequin.lab.benchmarks import pose, pose_painting, pose_valid
from mannequin.lab.benchmarks.pose_painting import Way, kept_for_gradients, load_painter
from mannequin.lab.benchmarks.pose_pairs import pose_pairs
from mannequin.lab.training import models, pose_head_random
from mannequin.lab.training.hand_detector import PointNet
from mannequin.methods.pose_field import BONES, PoseField, assemble
from mannequin.methods.pose_maps import BODY

PROMISED = {
    *("kp_error", "kp_error_plain", "leakage", "leakage_plain", "garment_ssim"),
    *("garment_ssim_plain", "kp_error_hard", "kp_error_hard_plain", "field_auc", "kp_error_12"),
    *("kp_error_30_plain", "time_12", "time_30_plain"),
}
QUICK = pose.Plan(1, 2, (0, 1), (0.0, 1.0), (1,), 1, 1, 2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Base, aligner, pose model and judge: all random."""
    folder = tmp_path_factory.mktemp("weights")
    base = models.build(0, folder / "base.safetensors")
    config = host.model_config(host.load_person_model(base)[0])
    config = aligner_config(config, LAYERS, hidden=8, width=8, embedding=8)
    torch.manual_seed(1)
    net = AlignerNet(**config["net"])
    for last in (net.change, *net.leave.values()):
        torch.nn.init.normal_(last.weight, std=0.1)
    write_aligner(folder / "aligner.safetensors", Aligner(config, net, {}))
    pose_head_random.build(2, folder / "pose.safetensors")
    torch.manual_seed(3)
    save_file(PointNet(18).state_dict(), folder / "judge.safetensors")
    return [folder / f"{name}.safetensors" for name in ("base", "aligner", "pose", "judge")]


LAYERS = {
    **dict.fromkeys(("down.1.0", "up.1.0", "up.1.1"), 64),
    **dict.fromkeys(("down.2.0", "mid.0", "up.0.0", "up.0.1"), 96),
    **dict.fromkeys(("up.2.0", "up.2.1"), 32),
}


@pytest.fixture(scope="module")
def held():
    return pose_pairs(3, 2, 1)


@pytest.fixture(scope="module")
def painter(files):
    return load_painter(*files[:3])


def test_it_runs_whole(files, held, tmp_path, monkeypatch):
    monkeypatch.setattr(pose, "FILES", dict.fromkeys(files, "making it"))
    monkeypatch.setattr(pose, "pose_pairs", lambda seed, count, sought: held)
    figures = pose.run(3, tmp_path / "new" / "pose.json", 2, QUICK)
    assert set(figures) >= PROMISED
    assert all(math.isfinite(figures[name]) for name in PROMISED)
    written = json.loads((tmp_path / "new" / "pose.json").read_text())
    assert written["pairs"] == 2 and written["kp_error"] == figures["kp_error"]
    assert written["pairs_hard"] >= 2 and written["kp_error_12"] == written["kp_error"]
    ways = [figures[f"person_psnr{name}"] for name in ("", "_aligned", "_guided", "_plain")]
    assert len(set(ways)) == 4
    curves = figures["curves"]
    assert [point["iterations"] for point in curves["iterations"]] == [0, 1]
    assert [point["scale"] for point in curves["scale"]] == [0, 1]
    assert figures["guidance_mib"] < 0.5 * figures["through_generator_mib"]
    text = (tmp_path / "new" / "pose.md").read_text(encoding="utf-8")
    assert "Only guidance is told joints" in text
    assert f"| both | {figures['kp_error']} | {figures['leakage']} |" in text
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        *("pose.json", "pose.md", "pose.jpg", "pose_curves.png", "pose_field.png")
    }


def test_missing_weights_are_named_with_what_makes_them(files, tmp_path, monkeypatch):
    gone = {files[0]: "mannequin train tiny", tmp_path / "no.safetensors": "mannequin train x"}
    monkeypatch.setattr(pose, "FILES", gone)
    with pytest.raises(FileNotFoundError, match=r"no\.safetensors \(made by `mannequin train x`\)"):
        pose.run(0, tmp_path / "pose.json", 1, QUICK)


def test_the_true_pictures_leak_nothing_more_than_the_judge_errs(held):
    def truth(net, pictures):
        return held.target_points

    real = pose.measure(None, held.pairs.target, held, range(len(held)), truth)
    assert float(real.kp.max()) == 0 and float(real.leak.nan_to_num().max()) == 0
    assert float(real.ssim.min()) > 0.999
    back = pose.measure(
        None, held.pairs.source, held, range(len(held)), lambda *_: held.source_points
    )
    assert float(back.leak.nanmean()) == 1 and float(back.kp.min()) > 0.02


def test_a_pairs_noise_is_its_own_whoever_else_is_painted(painter, held):
    told = held.found(0)
    whole = painter.paint(told, Way(1), 5)
    two = painter.paint(told.rows([2, 0]), Way(1), 5)
    torch.testing.assert_close(two, whole[[2, 0]], atol=2e-3, rtol=0)
    assert not torch.allclose(painter.paint(told.rows([0]), Way(1), 6), whole[:1], atol=1e-2)


def test_zero_is_plain_and_the_others_are_not(painter, held):
    told = held.found(0).rows([0, 1])
    plain = painter.paint(told, Way(2), 5)
    assert torch.equal(painter.paint(told, Way(2, 0, 0.0), 5), plain)
    report = pose_painting.GuidanceReport()
    for way in (Way(2, 1), Way(2, 0, 1.0)):
        assert not torch.equal(painter.paint(told, way, 5, report), plain)
    assert sorted({one.picture for one in report.steps}) == [0, 1]


def test_what_is_kept_for_gradients_is_counted_once_without_weights():
    x, weight = torch.randn(100, 64, requires_grad=True), torch.randn(64, 64)

    def work():
        ((x @ weight).sigmoid() ** 2).sum()

    assert kept_for_gradients(work, [weight]) == 100 * 64 * 4
    assert kept_for_gradients(work) == (100 * 64 + 64 * 64) * 4
    with torch.no_grad():
        assert kept_for_gradients(work) == 0


class Ruler(PoseField):
    """A field that knows: the distance of every pose from one."""

    def __init__(self, valid):
        super().__init__()
        self.valid = self.vectors(valid)[0]

    def forward(self, vectors, known):
        square = (vectors - self.valid[: len(vectors)]).square().sum(-1)
        return ((square * known).sum(1) / known.sum(1) + 1e-12).sqrt()


def test_a_field_that_knows_the_poses_ranks_and_mends(held):
    poses = held.target_points.clone()
    poses[..., 2] = 1
    field = Ruler(poses)
    g = torch.Generator().manual_seed(0)
    wrong = pose_valid.broken(field, poses, 0.2, g)
    root = (2 * 0.2**2) ** 0.5
    assert float(pose_valid.apart(field, wrong, poses).mean()) == pytest.approx(root, rel=0.2)
    assert float(pose_valid.apart(field, poses, poses).max()) < 1e-6
    figures = pose_valid.rank(field, poses, 0)
    assert figures["field_auc"] == 1 and set(figures["field_auc_by_noise"]) == {
        *("0.05", "0.1", "0.2", "0.4")
    }
    done = pose_valid.walk(field, poses, 0)
    assert done.poses.shape == (pose_valid.WALK + 1, len(poses), 18, 3)
    ends = pose_valid.mended(done)
    for name in ("field", "apart", "limbs"):
        assert ends[f"mend_{name}_after"] < 0.2 * ends[f"mend_{name}_before"]


def test_limbs_of_other_lengths_are_wrong_and_turned_or_larger_ones_are_not(held):
    field, poses = PoseField(), held.target_points[:1].clone()
    poses[..., 2] = 1
    bone = BONES.index((BODY.names.index("left elbow"), BODY.names.index("left wrist")))
    spans, _, torso = field.vectors(poses)
    longer = spans.clone()
    longer[:, bone] *= 1.5
    length = float(0.5 * spans[0, bone].norm())
    longer = assemble(longer * torso[:, None, None], poses)
    error = float(pose_valid.limb_error(field, longer, poses))
    assert error == pytest.approx(length / len(BONES), rel=0.1)
    assert float(pose_valid.apart(field, longer, poses)) == pytest.approx(
        length / len(BONES) ** 0.5, rel=0.1
    )
    turned, larger = poses.clone(), poses.clone()
    turned[..., :2] = poses[..., :2].flip(-1)
    larger[..., :2] *= 1.3
    assert float(pose_valid.limb_error(field, turned, poses)) < 1e-5
    assert float(pose_valid.apart(field, larger, poses)) < 1e-5
    assert float(pose_valid.apart(field, turned, poses)) > 0.3
