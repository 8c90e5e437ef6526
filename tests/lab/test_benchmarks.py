"""The benchmarks' figures: which there are, that a seed fixes them, and what the demo prints."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("anny")
pytest.importorskip("embreex")

import mannequin
from mannequin.__main__ import app
from mannequin.headless import folders, run_workflow
from mannequin.headless.registry import registry
from mannequin.lab.benchmarks import demo, leffa, pose_transfer
from mannequin.lab.benchmarks.heldout import render_pairs
from mannequin.lab.benchmarks.metrics import garment
from mannequin.lab.people import write_shards
from mannequin.lab.training.models import build, make_person, person_config

API = Path(mannequin.__file__).parent / "workflows" / "api"
PROMISED = {
    "garment_ssim",
    "garment_ssim_copy",
    "garment_ssim_warp",
    "person_psnr",
    "person_psnr_copy",
    "person_psnr_warp",
    "occluded_psnr",
    "occluded_psnr_warp",
    "flow_epe",
    "garment_hf",
    "garment_hf_detail",
    "garment_ssim_detail",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return build(0, tmp_path_factory.mktemp("models") / "random.safetensors")


@pytest.fixture(scope="module")
def pairs():
    return render_pairs(3, 2)


def test_pose_transfer_writes_flat_figures_a_table_and_a_sheet(
    weights, pairs, tmp_path, monkeypatch
):
    monkeypatch.setattr(pose_transfer, "render_pairs", lambda seed, count: pairs)
    files = [tmp_path / "new" / "one.json", tmp_path / "new" / "two.json"]
    for out in files:
        pose_transfer.run(3, out, pairs=2, weights=weights, steps=1)
    first, second = (json.loads(out.read_text()) for out in files)
    assert set(first) >= PROMISED | {"seed", "pairs"}
    assert all(isinstance(value, int | float) for value in first.values())
    assert {k: first[k] for k in PROMISED} == {k: second[k] for k in PROMISED}
    assert "nearest-IUV warp" in files[0].with_suffix(".md").read_text(encoding="utf-8")
    assert {path.stem for path in files[0].parent.iterdir()} == {"one", "two"}
    assert len(list(files[0].parent.iterdir())) == 6


def test_the_truth_itself_would_be_perfect_and_the_trivial_answers_are_not(pairs):
    figures = pose_transfer.figures(pairs, pairs.target, pairs.source, pairs.target)
    assert figures["garment_ssim"] == pytest.approx(1, abs=1e-4)
    assert figures["garment_hf"] == pytest.approx(1, abs=1e-4)
    assert figures["person_psnr"] == figures["occluded_psnr"] == 100
    assert figures["garment_ssim_copy"] == figures["garment_ssim_warp"] < 0.9
    assert figures["person_psnr_copy"] < 25


def test_pairs_are_the_same_for_a_seed_and_others_for_another(pairs):
    again, other = render_pairs(3, 1), render_pairs(4, 1)
    assert torch.equal(again.target[0], pairs.target[0])
    assert torch.equal(again.source_pose[0], pairs.source_pose[0])
    assert not torch.equal(other.target, again.target)
    assert garment(pairs.label).flatten(1).any(1).all()
    assert (~pairs.visible & (pairs.label > 0)).any()


def test_the_demo_measures_both_workflows_beside_trivial_answers(weights, tmp_path, monkeypatch):
    registry()
    models = ([str(weights.parent)], {".safetensors"})
    monkeypatch.setitem(folders.folder_names_and_paths, "mannequin", models)
    quick = {"Load person model.model_name": weights.name, "Sample.steps": 1}
    results = {
        name: run_workflow(API / f"{name}.json", quick, tmp_path)
        for name in ("pose_transfer", "try_on")
    }
    table = demo.report(results)
    lines = table.splitlines()
    assert [word in lines[0] for word in ("PSNR", "SSIM", "flow error")] == [True] * 3
    for name, trivial in (
        ("pose_transfer", "copy the source"),
        ("try_on", "keep the old garment"),
    ):
        own = [line for line in lines if line.startswith(f"{name}: ")]
        assert [trivial in line for line in own].count(True) == 1
        assert ["nearest-IUV warp" in line for line in own].count(True) == 1
        assert ["detail transfer" in line for line in own].count(True) == 1
        assert [" px" in line for line in own].count(True) == 1


def test_speed_without_the_official_code_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LEFFA_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["bench", "speed", "--out", str(tmp_path / "x.json")])
    assert done.exit_code == 2
    assert "expected a clone of the official Leffa code" in done.output
    assert not (tmp_path / "x.json").exists()


def test_leffa_measures_what_its_phases_trained(tmp_path):
    write_shards(tmp_path, 0, 4, "heldout")
    shards = leffa.HalfSize(tmp_path)
    shards.refresh()
    networks = make_person(person_config())
    states = {str(i): network.state_dict() for i, network in enumerate(networks)}
    figures = leffa.measure(tmp_path, leffa.heldout_pairs(shards), states, 0)
    assert set(figures) == set(leffa.FIGURES)
    assert all(0 < value < 100 for value in figures.values())
