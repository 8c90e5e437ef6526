"""A few coloured pictures of three people, and small random models that look at them."""

import numpy as np
import pytest
from PIL import Image

COLOURS = [(220, 90, 90), (80, 200, 100), (80, 110, 220)]
WORD = "<new1>"


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    from mannequin.lab.training.pipeline_random import save_clip_vision

    return save_clip_vision(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(tmp_path):
    """Three people of one colour each, with 3, 2 and 2 pictures of different brightness."""
    place = tmp_path / "people"
    rng = np.random.default_rng(0)
    for who, (colour, count) in enumerate(zip(COLOURS, (3, 2, 2), strict=True)):
        home = place / f"person{who}"
        home.mkdir(parents=True)
        for k in range(count):
            pixels = np.array(colour) - 25 * k + rng.integers(-20, 20, (40, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(home / f"{k}.png")
    (place / "person0" / "consent.txt").write_text("\nsigned in 2026\nmore\n", encoding="utf-8")
    (place / "person0" / "1.txt").write_text(f"a {WORD} person with a hat", encoding="utf-8")
    return place
