"""What a seed draws: balance, disjoint splits, joint limits, garments. Nothing is rendered."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.lab.people import prints
from mannequin.lab.people.captions import caption
from mannequin.lab.people.identity import AGES, BUILDS, CELLS, GENDERS, SKIN_TONES, sample_identity
from mannequin.lab.people.recipe import recipe_of

SEEDS = 240
BALANCED = {"gender": GENDERS, "age": AGES, "build": BUILDS, "skin_tone": range(len(SKIN_TONES))}


@pytest.fixture(scope="module")
def recipes():
    return [recipe_of(seed, "train") for seed in range(SEEDS)]


@pytest.mark.parametrize(("attribute", "which"), list(product(BALANCED, (0, 1))))
def test_people_are_balanced(recipes, attribute, which):
    values = BALANCED[attribute]
    counts = Counter(r.attributes()["people"][which][attribute] for r in recipes)
    assert set(counts) == set(values)
    fair = SEEDS / len(values)
    assert max(abs(n - fair) for n in counts.values()) < 0.2 * fair


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_combination_comes_once_per_block(split):
    def stratum(seed):
        who = recipe_of(seed, split).people[0]
        return tuple(getattr(who, name) for name in BALANCED)

    assert len({stratum(seed) for seed in range(CELLS, 2 * CELLS)}) == CELLS


def test_a_seed_always_draws_the_same_set():
    first, again = recipe_of(17, "heldout"), recipe_of(17, "heldout")
    assert first.shots[0].angles == again.shots[0].angles
    assert first.outfits == again.outfits
    assert first.people[1].details == again.people[1].details


def test_train_and_heldout_share_nobody():
    def faces(split):
        return {
            tuple(recipe_of(s, split).people[k].details.values()) for s in range(60) for k in (0, 1)
        }

    train, heldout = faces("train"), faces("heldout")
    assert len(train) == len(heldout) == 120
    assert not train & heldout


def test_the_other_person_wears_the_same_top_and_nothing_else(recipes):
    for recipe in recipes[:40]:
        first, second = recipe.outfits
        assert first.top == second.top
        assert first.bottom.cloth != second.bottom.cloth


def test_most_sets_show_the_upper_body(recipes):
    share = np.mean([r.frame == "full" for r in recipes])
    assert 0.08 < share < 0.22


def test_joints_stay_within_limits(recipes):
    for shot in (shot for recipe in recipes for shot in recipe.shots):
        assert abs(dict(shot.angles["root"])["z"]) <= 40
        head_turn = sum(dict(shot.angles[b])["z"] for b in ("neck01", "neck03", "head"))
        assert abs(head_turn) <= 28.001
        for side in "LR":
            assert -25 <= dict(shot.angles[f"lowerarm01.{side}"])["elbow"] <= 95
            assert 0 <= dict(shot.angles[f"lowerleg01.{side}"])["x"] <= 45
            for finger, joint in product(range(1, 6), (1, 2, 3)):
                assert -10 <= shot.angles[f"finger{finger}-{joint}.{side}"][0][1] <= 75


def test_prints_and_patterns_are_all_worn(recipes):
    tops = [r.outfits[0].top for r in recipes]
    assert 0.2 < np.mean([t.print_name is not None for t in tops]) < 0.6
    assert len({t.cloth.pattern for t in tops}) == 8
    assert len({t.sleeve for t in tops}) == len({t.neck for t in tops}) == 5


def test_prints_stand_out_from_their_cloth(recipes):
    brightness = np.array([0.299, 0.587, 0.114])
    for top in (r.outfits[0].top for r in recipes):
        if top.print_name is not None:
            assert abs(brightness @ top.print_colour - brightness @ top.cloth.colour) > 0.25


def test_captions_name_what_is_worn(recipes):
    for recipe in recipes[:30]:
        text, top = caption(recipe, 0), recipe.outfits[0].top
        assert recipe.outfits[0].bottom.kind in text
        assert f"{top.neck} neck" in text
        assert (f'"{top.print_name}"' in text) == (top.print_name is not None)


@pytest.mark.parametrize("name", prints.PRINTS)
def test_prints_touch_their_edges(name):
    ink = prints.alpha(name) > 0.5
    assert 0.1 < ink.mean() < 0.95
    assert ink[:3].any()
    assert ink[-3:].any()


@pytest.mark.parametrize(
    ("seed", "split", "message"),
    [(0, "test", "split"), (-1, "train", "seed"), (1.5, "train", "seed"), (True, "train", "seed")],
)
def test_bad_seeds_and_splits_are_named(seed, split, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(seed, split)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"cell must be 0\.\.143"):
        sample_identity(np.random.default_rng(0), CELLS)
    with pytest.raises(ValueError, match="no print named 'Q'"):
        prints.alpha("Q")
