"""The one photograph among the example inputs is the public-domain one that it is said to be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mannequin

PHOTOGRAPH = Path(mannequin.__file__).parent / "workflows" / "inputs" / "photograph.png"


def test_the_photograph_is_cropped_as_its_readme_says():
    portrait = Image.fromarray(pytest.importorskip("skimage.data").astronaut())
    made = portrait.crop((40, 0, 424, 512)).resize((288, 384), Image.Resampling.LANCZOS)
    difference = np.asarray(made).astype(int) - np.asarray(Image.open(PHOTOGRAPH))
    assert abs(difference).max() <= 2
    readme = PHOTOGRAPH.with_name("README.md").read_text(encoding="utf-8")
    assert "(40, 0, 424, 512)" in readme and "public domain" in readme
