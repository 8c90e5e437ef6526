"""Scenes of one to three people: who is where, what is said, and that they stay the same."""

import numpy as np
import pytest
import torch

from mannequin.lab.people.groups import HEIGHT, WIDTH, draw_scene, plan_scene
from mannequin.lab.training.inpaint_data import Pool
from mannequin.lab.training.scene_data import PER_FACE, ScenePool

FACTS = {
    "age": "young",
    "hair_style": "short",
    "hair_colour": "red",
    "expression": "smile",
    "skin_tone": 1,
    "glasses": "no glasses",
    "beard": "no beard",
}


def flat(value: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A person of one colour who fills the middle half of a portrait."""
    image = torch.full((64, 64, 3), value, dtype=torch.uint8)
    label = torch.zeros(64, 64, dtype=torch.uint8)
    label[10:, 16:48] = 1
    return image, label


class Portraits(Pool):
    """Four people, six portraits each; person k has the colour 50 k."""

    def __init__(self) -> None:
        self.facts = [
            {**FACTS, "gender": ("male", "female")[k // 6 % 2], "who": k // 6} for k in range(24)
        ]

    def refresh(self) -> None:
        pass

    def take(self, which):
        pairs = [flat(50 * (k // 6)) for k in which.tolist()]
        return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_people_stand_left_to_right_and_their_pixels_are_theirs(count):
    plan = plan_scene(np.random.default_rng(3), tuple(range(count)))
    images, labels = zip(*(flat(60 * (k + 1)) for k in range(count)), strict=True)
    picture, owner = draw_scene(plan, torch.stack(images), torch.stack(labels))
    assert picture.shape == (HEIGHT, WIDTH, 3) and owner.shape == (HEIGHT, WIDTH)
    middles = []
    for k in range(count):
        theirs = owner == k + 1
        inner = picture[theirs].float().mean()
        assert abs(float(inner) - 60 * (k + 1)) < 12
        middles.append(float(theirs.nonzero()[:, 1].float().mean()))
    assert middles == sorted(middles)
    assert (owner == 0).any()


@pytest.mark.parametrize("count", [0, 4])
def test_a_scene_of_nobody_or_of_a_crowd_is_an_error(count):
    with pytest.raises(ValueError, match=f"1 to 3 people, got {count}"):
        plan_scene(np.random.default_rng(0), tuple(range(count)))


def test_a_scene_stays_the_same_and_its_people_are_different():
    pool = ScenePool(Portraits())
    assert len(pool) == 24 * PER_FACE
    which = torch.arange(0, len(pool), 7)
    first, second = pool.take(which), pool.take(which)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    counts = set()
    for index in which.tolist():
        who = [facts["who"] for facts in pool.people(index)]
        assert len(set(who)) == len(who)
        counts.add(len(who))
    assert counts == {1, 2, 3}


def test_a_prompt_names_everybody_in_order():
    pool = ScenePool(Portraits())
    for index in range(30):
        nouns = [{"male": "man", "female": "woman"}[f["gender"]] for f in pool.people(index)]
        words = pool.prompt(index).replace(",", "").split()
        assert [word for word in words if word in ("man", "woman")] == nouns
        assert "background" in words


def test_a_training_batch_shows_people_whole():
    pool = ScenePool(Portraits())
    batch = pool.draw(8, torch.Generator().manual_seed(0))
    assert batch.picture.shape == (8, 3, HEIGHT, WIDTH)
    assert batch.region.shape == (8, 1, HEIGHT, WIDTH) and (batch.region.amax((1, 2, 3)) == 1).all()
