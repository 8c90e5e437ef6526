"""Inpainting with words on the embedded engine, with random weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from mannequin.headless import NodeError, folders

NAME = "inpaint_with_words"


@pytest.fixture
def paint(prompt_of, run, inpaint_model, tmp_path):
    """paint(prompt changes, **settings): the picture [H, W, 3] that the workflow saves."""

    def paint(change=None, **settings):
        prompt = prompt_of(NAME)
        if change is not None:
            change({node["_meta"]["title"]: node["inputs"] for node in prompt.values()})
        model = {"Load inpaint model.model_name": inpaint_model}
        result = run(prompt, **{**model, "Sample.steps": 1, **settings})
        return np.asarray(Image.open(result.images[0]).convert("RGB"))

    return paint


def given(name):
    return Image.open(f"{folders.get_input_directory()}/{name}.png")


def test_outside_the_mask_every_pixel_stays_and_inside_the_words_count(paint):
    before = np.asarray(given("portrait_a").convert("RGB"))
    mask = np.asarray(given("portrait_a_face_mask").convert("L"))
    after = paint()
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert not np.array_equal(after[mask == 255], before[mask == 255])
    assert np.array_equal(after, paint())
    other = paint(**{"What to paint.text": "a left hand of a man"})
    assert not np.array_equal(after, other)


def test_a_mask_of_zeros_changes_nothing(paint, tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "nothing.png")
    after = paint(**{"Load mask.image": str(tmp_path / "nothing.png")})
    assert np.array_equal(after, np.asarray(given("portrait_a").convert("RGB")))


def test_another_size_of_picture_and_mask(paint, tmp_path):
    given("portrait_a").resize((72, 96)).save(tmp_path / "taller.png")
    after = paint(**{"Load picture.image": str(tmp_path / "taller.png")})
    assert after.shape == (96, 72, 3)


def test_text_alone_says_what_to_connect(paint):
    def skip(inputs):
        inputs["Sample"]["positive"] = inputs["Picture and mask"]["positive"]

    with pytest.raises(NodeError, match="Put InpaintModelConditioning between CLIP Text Encode"):
        paint(skip)


def test_unknown_words_are_named(nodes, inpaint_model, caplog):
    _, clip, _ = nodes["MannequinLoadInpaintModel"].execute(inpaint_model).args
    (conditioning,) = nodes["CLIPTextEncode"].execute("a unicorn", clip).args
    assert "does not know unicorn" in caplog.text
    assert torch.isfinite(conditioning[0][0]).all()


def test_each_loader_names_the_other(nodes, inpaint_model, model_folder):
    for kind, folder, file, place in (
        ("MannequinLoadPersonModel", "mannequin_inpaint", inpaint_model, "Load Inpaint Model"),
        ("MannequinLoadInpaintModel", "mannequin", "random.safetensors", "Load Person Model"),
    ):
        wrong = "mannequin" if folder == "mannequin_inpaint" else "mannequin_inpaint"
        path = folders.get_full_path_or_raise(folder, file).removesuffix(f"/{file}")
        paths = folders.folder_names_and_paths[wrong][0]
        paths.insert(0, path)
        try:
            with pytest.raises(ValueError, match=f"choose it in {place}"):
                nodes[kind].execute(file)
        finally:
            paths.remove(path)


def test_a_missing_inpainting_model(nodes, inpaint_model):
    with pytest.raises(FileNotFoundError, match=r"the folders .* have .*random-inpaint"):
        nodes["MannequinLoadInpaintModel"].execute("gone.safetensors")
