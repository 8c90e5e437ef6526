"""The benchmark of several subjects runs whole, small and with random weights."""

import json

import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from safetensors.torch import save_file

from mannequin.hosts import diffusers as host
from mannequin.hosts.faces import FaceNet
from mannequin.hosts.routers import write_router
from mannequin.lab.benchmarks import subjects, subjects_routes, subjects_scenes
from mannequin.lab.people.groups import Plan
from mannequin.lab.training import inpaint_random
from mannequin.lab.training.moa_learned import own_projections
from mannequin.methods.moa_weights import new_weights

DIMENSION = 12
PROMISED = {
    "id_moa",
    "id_branch",
    "background_psnr_moa",
    "background_psnr_branch",
    "two_subject_accuracy",
    "two_subject_accuracy_no_router",
    "two_subject_accuracy_masked",
    "two_subject_accuracy_everything",
    "background_psnr_moa_everything",
    "router_iou",
    "background_to_prior",
    "diversity_ratio",
    "step_ratio",
}


def face_file(path, seed):
    torch.manual_seed(seed)
    net = FaceNet((8, 16, 16), DIMENSION)
    tensors = {f"face.{name}": t.clone() for name, t in net.state_dict().items()}
    config = {"widths": [8, 16, 16], "dimension": DIMENSION}
    save_file(tensors, path, {"mannequin": json.dumps(config)})
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Base, router, face network and judge: all random."""
    folder = tmp_path_factory.mktemp("weights")
    base = inpaint_random.build(0, folder / "base.safetensors")
    torch.manual_seed(3)
    own = own_projections(host.load_inpaint_model(base)[0])
    made = new_weights(
        own, "tiny", subjects_scenes.embedding_of(torch.zeros(1, 1)).source, DIMENSION
    )
    for name, t in made.tensors.items():
        made.tensors[name] = t + 0.05 * torch.randn(t.shape)
    write_router(folder / "moa.safetensors", made)
    return {
        "FILES": (base, folder / "moa.safetensors", face_file(folder / "face.safetensors", 0)),
        "JUDGE": face_file(folder / "judge.safetensors", 1),
    }


@pytest.fixture
def small(files, monkeypatch):
    few = {"HELDOUT_PORTRAITS": 6, "ROUTED_SCENES": 2, "DIVERSE_SCENES": 1, "SEEDS": 2, "TIMED": 1}
    for name, value in {**files, **few}.items():
        monkeypatch.setattr(subjects, name, value)
    monkeypatch.setattr(subjects_scenes, "STEPS", 1)
    monkeypatch.setattr(subjects_routes, "TIMES", (500,))


def test_it_writes_the_promised_figures_a_table_and_a_sheet(small, tmp_path):
    out = tmp_path / "subjects.json"
    figures = subjects.run(0, out, pairs=2)
    assert set(figures) >= PROMISED
    written = json.loads(out.read_text())
    assert written["scenes"] == 2 and len(written["router_iou_layers"]) == 18
    assert 0 < figures["background_to_prior"] < 1 and figures["step_ratio"] > 0
    assert figures["background_psnr_moa"] != figures["background_psnr_branch"]
    assert figures["id_moa"] != figures["id_prior"]
    for path in ("subjects.md", "subjects.jpg"):
        assert (tmp_path / path).stat().st_size > 500, path
    assert "| two_subject_accuracy |" in (tmp_path / "subjects.md").read_text(encoding="utf-8")
    stage = subjects_scenes.load_stage(
        subjects.FILES, subjects.JUDGE, tmp_path / "portraits-heldout"
    )
    cast = subjects_scenes.draw_cast(stage, 2, 0)
    assert len(cast.picture[cast.owner > 0].unique(dim=0)) == 1  # nothing of who stood there
    assert len(cast.picture[cast.owner == 0].unique(dim=0)) > 1
    places, background = cast.places() > 0, cast.background()
    assert places[cast.owner > 0].all(), "no silhouette is shown"
    assert (places | background).all() and not places.all()
    masked = subjects_scenes.bound_of(stage, cast, masked=True)
    for row, owner in zip(masked, cast.owner, strict=True):
        for who, bound in enumerate(row):
            assert torch.equal(bound.subject.mask > 0, owner == who + 1)


def test_a_portrait_is_cut_out_where_it_stands():
    picture = torch.zeros(64, 128, 3)
    picture[14:64, 70:120] = 1
    plan = Plan((0, 1), (50, 50), (-10, 70), (0, 1), None)
    inside = subjects_scenes.portrait_of(picture, plan, 1)
    assert inside.shape == (3, 64, 64) and float(inside.min()) > 0.99
    assert float(subjects_scenes.portrait_of(picture, plan, 0).max()) < -0.99


def test_people_are_told_apart_when_the_diagonal_is_larger():
    scores = torch.tensor([[[0.9, 0.2], [0.1, 0.4]], [[0.3, 0.5], [0.1, 0.6]]])
    assert subjects_scenes.told_apart(scores) == 0.75
    own = subjects_scenes.own_likeness(scores)
    torch.testing.assert_close(own, torch.tensor([[0.9, 0.4], [0.3, 0.6]]))


def test_intersection_over_union():
    left = torch.zeros(2, 4, 4, dtype=torch.bool)
    left[0, :, :2] = True
    top = torch.zeros(2, 4, 4, dtype=torch.bool)
    top[0, :2] = True
    assert subjects_routes.iou(left, top) == pytest.approx(4 / 12)
    assert subjects_routes.iou(left, left) == 1
