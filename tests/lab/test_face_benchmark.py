"""The face benchmark runs whole, small and with random weights; its parts measure what they say."""

import json

import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")
pytest.importorskip("matplotlib")

from safetensors.torch import save_file

from mannequin.hosts import diffusers as host
from mannequin.hosts import lending
from mannequin.hosts.adapters import write_adapter
from mannequin.hosts.face_finder import FaceFinder
from mannequin.hosts.faces import FaceNet
from mannequin.lab.benchmarks import face, face_edits, face_painting
from mannequin.lab.training import inpaint_random
from mannequin.lab.training.attributes import AttributeReader
from mannequin.methods.person_adapter import WORD, new_adapter

DIMENSION = 12
PROMISED = {
    "id_base",
    "id_base_wordless",
    "id_pva",
    "id_pva40",
    "id_full800",
    "steps_ratio",
    "time_ratio",
    "attribute_accuracy",
    "attribute_accuracy_text_only",
    "worst_group_id",
    "best_group_id",
    "personalize_seconds",
    "step_overhead",
}


def face_file(path, seed):
    torch.manual_seed(seed)
    rooms = {"face": FaceNet((8, 16, 16), DIMENSION), "finder": FaceFinder((8, 16))}
    tensors = {f"{r}.{k}": v.clone() for r, m in rooms.items() for k, v in m.state_dict().items()}
    config = {
        "family": "mannequin-tiny-face",
        "widths": [8, 16, 16],
        "dimension": DIMENSION,
        "finder": {"widths": [8, 16]},
        "alike": 0.3,
    }
    save_file(tensors, path, {"mannequin": json.dumps(config)})
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Base, adapter, face network, judge, reader: all random."""
    folder = tmp_path_factory.mktemp("weights")
    base = inpaint_random.build(0, folder / "base.safetensors")
    model, clip, _ = host.load_inpaint_model(base)
    made = new_adapter(lending.layers(host, model), "tiny", "mannequin-tiny-face", DIMENSION)
    word = clip.encoder.embed.weight[clip.tokenizer.index[WORD]].clone()
    tuning = {"rate": 1e-2, "word_rate": 1e-2, "rows": 2}
    write_adapter(folder / "pva.safetensors", made.with_tensors({"word": word}, tuning=tuning))
    torch.manual_seed(2)
    save_file(AttributeReader().state_dict(), folder / "reader.safetensors")
    return {
        "FILES": (base, folder / "pva.safetensors", face_file(folder / "face.safetensors", 0)),
        "JUDGE": face_file(folder / "judge.safetensors", 1),
        "READER": folder / "reader.safetensors",
    }


@pytest.fixture
def small(files, monkeypatch):
    few = {"OURS": (0, 1), "STEPS": 1, "THEIRS": (0, 2), "FULL_STEPS": 2, "SEEDS": 1}
    for name, value in {**files, **few, "HELDOUT_PORTRAITS": 3, "TUNED_PEOPLE": 1}.items():
        monkeypatch.setattr(face, name, value)
    monkeypatch.setattr(face_painting, "STEPS", 1)
    monkeypatch.setattr(
        face_edits, "EDITS", {k: face_edits.EDITS[k] for k in ("sunglasses", "blond hair")}
    )


def test_it_writes_the_promised_figures_a_table_a_curve_and_sheets(small, tmp_path):
    out = tmp_path / "face.json"
    figures = face.run(0, out)
    assert set(figures) >= PROMISED
    written = json.loads(out.read_text())
    assert set(written["curve_pva"]) == {"0", "1"} and written["people"] <= 3
    assert figures["id_real"] != figures["id_base"]
    for path in ("face.md", "face_curve.png", "face.jpg", "face_edits.jpg"):
        assert (tmp_path / path).stat().st_size > 500, path
    assert "| id_pva40 |" in (tmp_path / "face.md").read_text(encoding="utf-8")


def test_the_baseline_learns_all_cross_attentions_of_a_copy(files):
    painter = face_painting.load_painter(*files["FILES"])
    before = {k: t.clone() for k, t in painter.model.unet.unet.state_dict().items()}
    pictures = torch.rand(2, 64, 64, 3)
    faces = painter.embedding(pictures, torch.ones(2, 64, 64))
    tuning = face.Tuning(1, 1e-2, 1e-2, rows=2, accumulate=1)
    with face_painting.full_tuning(painter, faces, tuning) as work:
        work.step()
        after = work.model.unet.unet.state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert len(changed) == 9 * 4 and all(".attn2.to_" in name for name in changed)
    now = painter.model.unet.unet.state_dict()
    assert all(torch.equal(t, before[name]) for name, t in now.items())
    assert not torch.equal(work.word, painter.adapter.word)


def test_likeness_is_the_mean_cosine_to_the_other_pictures():
    people = face_painting.People(torch.rand(2, 6, 64, 64, 3), torch.ones(2, 6, 64, 64), [], [])
    judge = FaceNet((8, 16), 5).eval()
    painted = torch.rand(1, 64, 64, 3)
    got = face_painting.likeness(judge, painted, people, [1])
    with torch.inference_mode():
        mine = judge(painted.movedim(-1, 1) * 2 - 1)
        cosines = [
            torch.cosine_similarity(mine, judge(p[None].movedim(-1, 1) * 2 - 1))
            for p in people.pictures[1, 1:]
        ]
    torch.testing.assert_close(got, torch.stack(cosines).mean(0))
