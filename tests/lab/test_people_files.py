"""People on disk: shards that resume, folders that open, example inputs that still match."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("anny")
pytest.importorskip("embreex")

from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import mannequin
from mannequin.lab.people import examples, render_folder, render_set, shards, write_shards
from mannequin.lab.people.masks import mask, repaint_area

INPUTS = Path(mannequin.__file__).parent / "workflows" / "inputs"


@pytest.fixture
def small_shards(monkeypatch):
    """Two sets per shard, and a record of the seeds that were rendered."""
    rendered = []

    def small(seed, split, **options):
        rendered.append(seed)
        return render_set(seed, split, 32, 24, **options)

    monkeypatch.setattr(shards, "SETS_PER_SHARD", 2)
    monkeypatch.setattr(shards, "render_set", small)
    return rendered


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, small_shards):
    def interrupt(path, done, total):
        assert (done, total) == (1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, 10, 3, "train", report=interrupt)
    assert small_shards == [10, 11]
    before = (tmp_path / "shard_00000.safetensors").read_bytes()

    paths = write_shards(tmp_path, 10, 3, "train")
    assert small_shards == [10, 11, 12]
    assert [p.name for p in paths] == ["shard_00000.safetensors", "shard_00001.safetensors"]
    assert sorted(tmp_path.iterdir()) == paths
    assert paths[0].read_bytes() == before


@pytest.mark.parametrize("again", [(2, 2, "train"), (0, 1, "train"), (0, 2, "heldout")])
def test_shards_of_another_run_are_not_taken_for_this_one(tmp_path, small_shards, again):
    (path,) = write_shards(tmp_path, 0, 2, "train")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"the file there holds seeds 0 to 1 of train.*remove"):
        write_shards(tmp_path, *again)
    assert path.read_bytes() == before
    assert small_shards == [0, 1]


def test_a_half_written_shard_is_written_again(tmp_path, small_shards):
    (tmp_path / "shard_00000.part").write_bytes(b"half")
    write_shards(tmp_path, 0, 2, "train")
    assert [p.name for p in tmp_path.iterdir()] == ["shard_00000.safetensors"]


def test_a_shard_holds_what_was_rendered(tmp_path, small_shards):
    (path,) = write_shards(tmp_path, 4, 2, "heldout")
    tensors, person = load_file(path), render_set(5, "heldout", 32, 24, half_flow=True)
    for name in ("image", "dense_pose", "label", "keypoints", "hands"):
        np.testing.assert_array_equal(tensors[name][1], getattr(person, name))
    np.testing.assert_array_equal(tensors["flow"][1], person.flow.astype(np.float16))
    np.testing.assert_array_equal(tensors["visible"][1], person.visible)
    np.testing.assert_array_equal(tensors["pairs"], person.pairs)
    with safe_open(path, "np") as opened:
        facts = opened.metadata()
    assert json.loads(facts["seeds"]) == [4, 5]
    assert facts["split"] == "heldout"
    assert json.loads(facts["captions"])[1] == person.captions
    assert json.loads(facts["attributes"])[1] == person.attributes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, "train", 1), "count must be a whole number of 1 or more, got 0"),
        ((0, 1, "train", 0), "processes must be a whole number of 1 or more, got 0"),
        ((0, 1, "tests", 1), 'split must be "train" or "heldout"'),
        ((-1, 1, "train", 1), "seed must be a whole number of 0 or more"),
    ],
)
def test_bad_shard_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_shards(tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_opens_in_any_viewer(tmp_path):
    (folder,) = render_folder(tmp_path, 1, 7, "heldout")
    person = render_set(7, "heldout", crops=True)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "2_image.png")), person.image[2])
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "2_label.png")), person.label[2])
    np.testing.assert_array_equal(
        np.asarray(Image.open(folder / "1_iuv.png")), person.dense_pose[1]
    )
    top = np.asarray(Image.open(folder / "3_mask_top.png"))
    np.testing.assert_array_equal(top > 127, mask(person.label[3], "top"))
    face = np.asarray(Image.open(folder / "0_face_image.png"))
    np.testing.assert_array_equal(face, person.crops.image[0, 0])
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert truth["captions"] == person.captions
    assert np.shape(truth["keypoints"]) == (4, 18, 3)
    np.testing.assert_array_equal(np.load(folder / "flow.npz")["flow"], person.flow)
    assert Image.open(tmp_path / "sheet.png").width > 8 * 96


def test_a_folder_keeps_what_is_there(tmp_path):
    (folder,) = render_folder(tmp_path, 1, 7, "heldout", 32, 24, crops=False)
    (folder / "0_image.png").write_bytes(b"mine")
    render_folder(tmp_path, 1, 7, "heldout", 32, 24, crops=False)
    assert (folder / "0_image.png").read_bytes() == b"mine"


def test_bad_folder_arguments_are_named(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("x")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        render_folder(taken, 1, 0)
    with pytest.raises(ValueError, match="count must be a whole number of 1 or more, got 0"):
        render_folder(tmp_path / "out", 0, 0)
    with pytest.raises(ValueError, match="no mask named 'hat'"):
        mask(np.zeros((2, 2), np.uint8), "hat")


def test_example_inputs_are_what_the_recipe_renders(tmp_path):
    examples.write_examples(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} <= {p.name for p in INPUTS.iterdir()}
    for path in tmp_path.glob("*.png"):
        new, committed = (np.asarray(Image.open(p)) for p in (path, INPUTS / path.name))
        assert new.shape == committed.shape
        assert np.mean(new == committed) > 0.99, f"{path.name} has changed"


def test_the_repaint_area_covers_the_new_top_and_spares_the_hands():
    def picture(name):
        return np.asarray(Image.open(INPUTS / f"{name}.png")).astype(int)

    area, hands = picture("person_b_garment_mask") > 127, picture("person_b_hands_mask") > 127
    changed = np.abs(picture("person_b") - picture("person_b_target")).max(-1) > 24
    assert changed.sum() > 500
    assert (changed & area).sum() > 0.97 * changed.sum()
    assert not (area & hands).any()
    person = examples.before_try_on()
    wider = repaint_area(person.label, person.dense_pose, margin=8)
    assert (area <= wider).all()
