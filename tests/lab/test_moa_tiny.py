"""Mixture-of-attention learns beside its frozen base, and at strength 0 is not there."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.hosts import diffusers as host
from mannequin.hosts import lending
from mannequin.hosts.faces import FaceNet
from mannequin.hosts.routers import read_router
from mannequin.lab.people.portrait_shards import write_portraits
from mannequin.lab.training import inpaint_random, moa_scenes, moa_tiny
from mannequin.lab.training.inpaint_data import Pool
from mannequin.lab.training.moa_learned import BranchAlone
from mannequin.lab.training.scene_data import ScenePool
from mannequin.methods.moa import Bound, MoA, Subject

DIMENSION = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A working folder with three people, a random base and a random face network."""
    work = tmp_path_factory.mktemp("work")
    write_portraits(work / "portraits", 0, 3, "train")
    base = inpaint_random.build(0, work / "base.safetensors")
    torch.manual_seed(0)
    net = FaceNet((8, 16, 16), DIMENSION)
    about = {"mannequin": json.dumps({"widths": [8, 16, 16], "dimension": DIMENSION})}
    tensors = {f"face.{name}": t for name, t in net.state_dict().items()}
    save_file(tensors, work / "face.safetensors", about)
    return work, base, work / "face.safetensors"


@pytest.fixture(scope="module")
def loaded(files):
    return host.load_inpaint_model(files[1])


@pytest.fixture(scope="module")
def pool(files):
    return Pool("face", files[0] / "portraits")


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    """What is written after one step, and by the same command after three."""
    work, base, faces = files
    out = tmp_path_factory.mktemp("routers")
    with pytest.MonkeyPatch.context() as small:
        for name in ("ROWS", "FACE_ROWS"):
            small.setattr(moa_tiny, name, 2)
        small.setattr(moa_tiny, "ALONE", 0.0)
        for steps in (1, 3):
            moa_tiny.run(work, base, faces, out / f"{steps}.safetensors", steps)
    return [read_router(out / f"{steps}.safetensors") for steps in (1, 3)]


def test_it_trains_writes_and_goes_on(files, loaded, trained):
    first, last = trained
    assert last.provenance["steps"] == 3 and last.provenance["licence"] == "Apache-2.0"
    last.check(lending.layers(host, loaded[0]))
    moved = {k for k, t in last.tensors.items() if not torch.equal(t, first.tensors[k])}
    assert {name.split(".")[0] for name in moved} == {"expert", "router", "binder"}
    again = host.load_inpaint_model(files[1])[0].unet.unet.state_dict()
    now = loaded[0].unet.unet.state_dict()
    assert all(torch.equal(t, now[name]) for name, t in again.items())
    assert set(load_file(files[0] / "moa.safetensors")) > {"model.moa.parts.binder-layer"}


def sample(loaded, *methods):
    model, clip, vae = loaded
    for method in methods:
        model = host.patch(model, method)
    grey = torch.full((1, 32, 64, 3), 0.5)
    told = {"concat_latent_image": vae.encode(grey), "concat_mask": torch.ones(1, 1, 32, 64)}
    said = [[[host.encode_text(clip, [text]), told]] for text in ("a man", "")]
    latent = {"samples": torch.zeros(1, 12, 8, 16)}
    with torch.inference_mode():
        return host.sample(model, 3, 2, 2.0, "euler", "normal", *said, latent)["samples"]


def subject(loaded, seed=0):
    place = host.places(loaded[1], "a man", "man")[0]
    vectors = torch.randn(2, DIMENSION, generator=torch.Generator().manual_seed(seed))
    return Bound(Subject("man", moa_scenes.embedding_of(vectors)), place)


def test_strength_zero_and_no_subjects_are_bit_identical(loaded, trained):
    plain = sample(loaded)
    assert torch.equal(plain, sample(loaded, MoA(trained[1], [subject(loaded)], strength=0)))
    assert torch.equal(plain, sample(loaded, MoA(trained[1], [])))
    seen = sample(loaded, MoA(trained[1], [subject(loaded)]))
    assert not torch.equal(plain, seen) and torch.isfinite(seen).all()
    assert torch.equal(seen, sample(loaded, MoA(trained[1], [subject(loaded)])))
    assert not torch.equal(seen, sample(loaded, MoA(trained[1], [subject(loaded, 1)])))
    assert not torch.equal(seen, sample(loaded, BranchAlone(trained[1], [subject(loaded)])))


def test_every_term_of_the_loss_is_there_and_starts_at_the_prior(files, loaded, pool):
    model, clip, vae = loaded
    vectors = torch.randn(len(pool), 2, DIMENSION)
    learned = moa_tiny.begin(model, "tiny", moa_scenes.EMBEDDING, DIMENSION, 0)
    with lending.lend(host, model, clip, vae) as base:
        loss = moa_tiny.MoALoss(base, clip.tokenizer, learned, pool, vectors)
        rng = np.random.default_rng(1)
        batch = moa_scenes.draw_scenes(loss.scenes, 2, vectors, clip.tokenizer, rng)
        terms = loss.of(batch, torch.Generator().manual_seed(0))
        alone = loss.of(batch, torch.Generator().manual_seed(0), alone=True)
    assert set(terms) == {"total", "people", "kept", "router", "own", "balance", "mixed"}
    assert float(terms["kept"].detach()) < 1e-9, "an untrained branch is the prior"
    assert 0 < float(terms["router"].detach()) < 0.25
    assert set(alone) == {"total", "alone"} and float(alone["alone"].detach()) > 0


def test_words_masks_and_references_belong_to_the_same_person(loaded, pool):
    tokenizer, scenes = loaded[1].tokenizer, ScenePool(pool)
    vectors = torch.arange(len(pool)).view(-1, 1, 1).expand(-1, 2, DIMENSION).float()
    rng = np.random.default_rng(3)
    batch = moa_scenes.draw_scenes(scenes, 12, vectors, tokenizer, rng)
    counts = []
    for row, bounds in enumerate(batch.bound):
        words = [tokenizer.words[i] for i in tokenizer([batch.prompts[row]])[0].tolist()]
        counts.append(len(bounds))
        for number, bound in enumerate(bounds):
            assert words[bound.tokens[0]] == bound.subject.word
            assert bound.subject.word in moa_scenes.NOUNS
            people = {int(v) // 6 for v in bound.subject.faces.vectors[:, 0, 0]}
            assert len(people) == 1
            assert batch.present[row, number] == 1
        assert float(batch.present[row].sum()) == len(bounds)
    assert min(counts) >= 1 and max(counts) > 1
    assert float((batch.masks.sum(1) > 1).sum()) == 0, "every pixel is one person's"


def test_references_never_show_the_picture_itself(pool):
    vectors = torch.arange(len(pool)).view(-1, 1, 1).expand(-1, 2, 1).float()
    rng = np.random.default_rng(0)
    for portrait in range(12):
        seen = moa_scenes.other_pictures(vectors, portrait, rng)[:, 0].long().tolist()
        assert portrait not in seen and {v // 6 for v in seen} == {portrait // 6}
        assert 1 <= len(seen) <= 5


def test_faces_are_one_subject_each(loaded, pool):
    vectors = torch.randn(len(pool), 2, DIMENSION)
    rng = np.random.default_rng(0)
    batch = moa_scenes.draw_faces(pool, 5, vectors, loaded[1].tokenizer, rng)
    assert [len(bounds) for bounds in batch.bound] == [1] * 5
    assert batch.masks.shape == (5, 1, 64, 64) and bool(batch.masks.flatten(1).any(1).all())
    assert set(batch.region.unique().tolist()) <= {0.0, 1.0}


def test_a_subjects_mask_is_where_its_person_is(loaded, pool, monkeypatch):
    monkeypatch.setattr(moa_scenes, "MASKED", 0.5)
    vectors = torch.randn(len(pool), 2, DIMENSION)
    rng = np.random.default_rng(4)
    tokenizer = loaded[1].tokenizer
    batch = moa_scenes.draw_scenes(ScenePool(pool), 12, vectors, tokenizer, rng)
    shown = [[b.subject.mask is not None for b in bounds] for bounds in batch.bound]
    assert all(len({*row}) == 1 for row in shown), "a picture's people all have masks, or none has"
    assert {True} < {row[0] for row in shown}
    for row, bounds in enumerate(batch.bound):
        for number, bound in enumerate(bounds):
            if bound.subject.mask is not None:
                assert torch.equal(bound.subject.mask, batch.masks[row, number])


def test_people_are_painted_with_what_is_around_them_or_in_boxes():
    owner = torch.zeros(10, 20)
    owner[4:6, 3:5], owner[2, 15] = 1, 2
    grown = moa_scenes.around_people(owner, 1, box=False)
    assert grown[3:7, 2:6].all() and grown[1:4, 14:17].all() and int(grown.sum()) == 16 + 9
    owner[9, 3] = 1
    boxes = moa_scenes.around_people(owner, 1, box=True)
    assert boxes[3:, 2:6].all() and int(boxes.sum()) == 7 * 4 + 9
    behind = torch.where(owner == 1, 0, owner)
    assert int(moa_scenes.around_people(behind, 1, box=True).sum()) == 9, "one is not to be seen"
    assert moa_scenes.around_people(0 * owner, 1, box=True).all(), "nobody: everything"


def test_everything_or_all_people_are_mostly_painted(monkeypatch):
    owner = torch.zeros(64, 128)
    owner[20:, 10:40] = 1
    rng = np.random.default_rng(0)
    whole = [bool(moa_scenes.region_of(owner, "scene", rng).all()) for _ in range(300)]
    assert moa_scenes.EVERYTHING - 0.1 < sum(whole) / 300 < moa_scenes.EVERYTHING + 0.25
    monkeypatch.setattr(moa_scenes, "EVERYTHING", 0.0)
    monkeypatch.setattr(moa_scenes, "PEOPLE", 1.0)
    face = torch.zeros(64, 64)
    face[20:40, 20:40], face[40:50, 25:35] = 6, 1
    for label, domain in ((owner, "scene"), (face, "face")):
        for _ in range(20):
            region = moa_scenes.region_of(label, domain, rng)
            assert region[label > 0].all() and not region.all()


def test_most_rows_are_noise_or_nearly_so():
    t = moa_tiny.draw_times(4000, 1000, torch.Generator().manual_seed(0))
    assert t.min() >= 0 and t.max() == 999
    assert (t == 999).float().mean() == pytest.approx(moa_tiny.PURE_NOISE, abs=0.03)
    near = moa_tiny.PURE_NOISE + moa_tiny.NOISY
    expected = near + (1 - near) * (1 - moa_tiny.FROM)  # the strata reach there too
    assert (t >= 1000 * moa_tiny.FROM).float().mean() == pytest.approx(expected, abs=0.03)
