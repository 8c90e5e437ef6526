"""Face Encoder, Crop Around Mask and Paste Crop as the artist connects them."""

import pytest
import torch

NAME = "blind.safetensors"


def test_face_models_are_listed(nodes, face_model):
    inputs = {spec.id: spec for spec in nodes["MannequinFaceEncoder"].GET_SCHEMA().inputs}
    assert NAME in inputs["face_model"].options
    assert inputs["find_face"].options == ["find", "whole picture"]


def test_a_changed_file_is_encoded_again(nodes, face_model):
    node = nodes["MannequinFaceEncoder"]
    given = {"image": None, "face_model": NAME, "find_face": "find", "clip_vision": None}
    before = node.fingerprint_inputs(**given)
    assert node.fingerprint_inputs(**given) == before
    face_model.touch()
    assert node.fingerprint_inputs(**given) != before


def test_references_become_an_embedding(execute, make, face_model):
    faces, crops, report = execute(
        "MannequinFaceEncoder",
        image=make.picture(0, 3),
        face_model=NAME,
        find_face="whole picture",
    )
    assert faces.vectors.shape == (3, 1, 12) and faces.source == "mannequin-tiny-face"
    assert crops.shape == (3, 64, 64, 3) and report.startswith("3 reference(s)")
    more, crops, _ = execute(
        "MannequinFaceEncoder",
        image=make.picture(1, h=90, w=70),
        face_model=NAME,
        find_face="whole picture",
        more=faces,
    )
    assert len(more.vectors) == len(crops) == 4
    assert torch.equal(more.vectors[:3], faces.vectors)


def test_a_picture_without_a_face(execute, make, face_model):
    with pytest.raises(ValueError, match="Reference 1 shows no face that the finder knows"):
        execute("MannequinFaceEncoder", image=make.picture(0), face_model=NAME, find_face="find")


def test_cropping_painting_and_pasting(execute, make):
    image = make.picture(0)
    mask = torch.zeros(1, *image.shape[1:3])
    mask[:, 10:20, 12:24] = 1
    pictures, masks, crop = execute(
        "MannequinMaskCrop", image=image, mask=mask, size=64, padding=0.6
    )
    assert pictures.shape == (1, 64, 64, 3) and masks.shape == (1, 64, 64)
    (out,) = execute("MannequinPasteCrop", crop=crop, painted=1 - pictures, feather=2)
    assert torch.equal(out[mask == 0], image[mask == 0])
    assert (out != image).any(-1)[mask > 0].float().mean() > 0.95


def test_a_mask_that_the_artist_forgot_to_draw(execute, make):
    """Load Image gives 64x64 zeros for a picture without transparency."""
    with pytest.raises(ValueError, match=r"The mask has no hole: .* MaskEditor"):
        execute(
            "MannequinMaskCrop",
            image=make.picture(0),
            mask=torch.zeros(1, 64, 64),
            size=64,
            padding=0.6,
        )
