import numpy as np
import pytest
from safetensors import safe_open

pytest.importorskip("anny")

from mannequin.lab.people.looks import BEARDS, look_today, usual_look
from mannequin.lab.people.portrait_shards import write_portraits
from mannequin.lab.people.portraits import FACES, HANDS, gesture, render_face, render_portraits
from mannequin.lab.people.recipe import recipe_of, stream

SEED = 2


@pytest.fixture(scope="module")
def portraits():
    return render_portraits(SEED, "heldout")


def test_shapes_and_points(portraits):
    assert portraits.face_image.shape == (FACES, 64, 64, 3)
    assert portraits.hand_points.shape == (HANDS, 21, 3)
    assert ((portraits.face_label == 6).mean((1, 2)) > 0.04).all()
    sides = {"left": 7, "right": 8}
    for label, fact in zip(portraits.hand_label, portraits.hands, strict=True):
        assert (label == sides[fact["side"]]).mean() > 0.05


def test_the_person_stays_and_the_look_changes(portraits):
    who = recipe_of(SEED, "heldout").people[0]
    assert all(f["gender"] == who.gender for f in portraits.faces)
    assert all(f["skin_tone"] == who.skin_tone for f in portraits.faces)
    assert len({f["expression"] for f in portraits.faces}) > 1
    assert len({f["usual"]["beard"] for f in portraits.faces}) == 1


def test_a_set_is_the_same_whenever_it_is_asked_for(portraits):
    again = render_portraits(SEED, "heldout")
    assert np.array_equal(portraits.face_image, again.face_image)
    assert np.array_equal(portraits.hand_points, again.hand_points)
    assert portraits.faces == again.faces


def test_a_face_with_more_around_it(portraits):
    """At the close-up's own width it is the close-up; wider, it is in the middle of the picture."""
    image, label, facts = render_face(SEED, "heldout", 1)
    assert np.array_equal(image, portraits.face_image[1])
    assert np.array_equal(label, portraits.face_label[1])
    assert facts.items() <= portraits.faces[1].items()
    image, label, _ = render_face(SEED, "heldout", 1, 1.5)
    assert image.shape == (96, 96, 3)
    assert (label[16:80, 16:80] == portraits.face_label[1]).mean() > 0.99
    with pytest.raises(ValueError, match="picture must be 0 to 5, got 6"):
        render_face(SEED, "heldout", 6)


def test_people_of_recipe_people_1_have_no_look():
    assert all(who.look is None for who in recipe_of(SEED, "train").people)


def test_only_men_grow_beards_and_everybody_changes_expression():
    seen = set()
    for seed in range(60):
        who = recipe_of(seed, "train").people[0]
        rng = stream("train", seed, 10)
        today, look = look_today(rng, who, usual_look(rng, who))
        assert who.gender == "male" or look.beard == BEARDS[0]
        assert today.look is look and today.details == who.details
        seen.add(today.expression)
        seen.add(look.beard)
        seen.add(look.glasses)
    assert len(seen) == 6 + 5 + 4


def test_gestures():
    def hand(*curls):
        return {f"finger{k}-2.L": [("curl", c)] for k, c in zip((2, 3, 4, 5), curls, strict=True)}

    assert gesture(hand(60, 55, 70, 50), "L") == "fist"
    assert gesture(hand(0, 60, 60, 60), "L") == "pointing"
    assert gesture(hand(0, 2, 5, 3), "L") == "open"
    assert gesture(hand(20, 22, 15, 13), "L") == "relaxed"


def test_shards_hold_the_pictures_and_their_facts(tmp_path, portraits):
    (path,) = write_portraits(tmp_path, SEED, 1, "heldout")
    with safe_open(path, "numpy") as file:
        assert np.array_equal(file.get_tensor("face_image")[0], portraits.face_image)
        assert file.metadata()["version"] == "portraits-1"
    before = path.stat().st_mtime_ns
    write_portraits(tmp_path, SEED, 1, "heldout")
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="portraits-1"):
        write_portraits(tmp_path, SEED + 1, 1, "heldout")
