import logging

import pytest
import torch

from mannequin.hosts.face_finder import Face
from mannequin.hosts.face_references import MOST, WHOLE, encode, spread


class Model:
    """Finds the given faces in every picture and describes pictures by their mean colour."""

    name, alike = "colours", 0.9

    def __init__(self, *windows):
        self.windows = windows

    def find(self, picture):
        out = []
        for left, top, right, bottom in self.windows:
            mask = torch.zeros(picture.shape[:2])
            mask[int(top) + 1 : int(bottom) - 1, int(left) + 1 : int(right) - 1] = 1
            out.append(Face((left, top, right, bottom), mask, 0.9))
        return out

    def embed(self, pictures):
        third = pictures.shape[2] // 2  # the left half counts, so that mirroring is seen
        return pictures[:, :, :third].mean((1, 2)).unsqueeze(1)


def people(*colours, height=80, width=100):
    """One picture for each colour, brighter to the right, with a little structure."""
    wave = 0.9 + 0.1 * torch.sin(torch.arange(width) / 5)
    ramp = torch.linspace(0.5, 1, width) * wave
    return torch.stack([ramp[None, :, None] * torch.tensor(c) for c in colours]).expand(
        -1, height, -1, -1
    )


RED, GREEN = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)


def test_the_face_is_cut_out_and_described():
    images = people(RED)
    made, report = encode(Model((20, 10, 52, 42)), images)
    assert made.pictures.shape == (1, 64, 64, 3) and made.faces.shape == (1, 64, 64)
    assert made.vectors.shape == made.mirrored.shape == (1, 1, 3)
    window = images[:, 10:42, 20:52]
    assert torch.allclose(made.pictures[:, ::2, ::2], window, atol=0.02)
    assert made.faces[0, 32, 32] == 1 and made.faces[0, 0].max() == 0
    assert made.source == "colours" and report == "1 reference(s), described by colours."
    assert (made.mirrored > made.vectors).all()  # mirrored, the bright side is the left one


def test_crops_are_kept_as_large_as_the_pictures_show_them():
    large = people(RED, height=200, width=200)
    made, _ = encode(Model((20, 30, 140, 150)), large)
    assert made.pictures.shape == (1, 120, 120, 3) and made.faces.shape == (1, 120, 120)
    assert torch.allclose(made.pictures[0], large[0, 30:150, 20:140], atol=1e-6)
    huge, _ = encode(Model((0, 0, 700, 700)), people(RED, height=700, width=700))
    assert huge.pictures.shape == (1, 512, 512, 3)
    joint, _ = encode(Model((20, 10, 52, 42)), people(RED), more=made)
    assert joint.pictures.shape == (2, 120, 120, 3) and joint.faces.shape == (2, 120, 120)
    assert torch.equal(joint.pictures[0], made.pictures[0])


def test_what_comes_out_may_be_learned_from():
    with torch.inference_mode():
        made, _ = encode(Model((20, 10, 60, 50)), people(RED))
    for name in ("vectors", "mirrored", "pictures", "faces"):
        assert not getattr(made, name).is_inference(), name


def test_a_whole_picture_is_fitted_into_a_square_and_nothing_is_looked_for():
    images = people(RED, height=60, width=60)
    made, report = encode(Model(), images, WHOLE)
    assert made.pictures.shape == (1, 64, 64, 3)
    assert torch.allclose(made.pictures.mean(), images.mean(), atol=0.01)
    assert made.faces.min() == 1 and "doubt" not in report
    wide, _ = encode(Model(), people(RED, height=40, width=80), WHOLE)
    assert torch.equal(wide.pictures[0, 0], wide.pictures[0, 10])


def test_the_found_mask_of_a_whole_picture_is_kept():
    made, _ = encode(Model((10, 10, 40, 40)), people(RED, height=64, width=64), WHOLE)
    assert made.faces[0, 20, 20] == 1 and made.faces[0, 60, 60] == 0


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ((), r"Reference 2 shows no face that the finder knows: expected exactly one\. .*photo"),
        (
            ((5, 5, 40, 40), (50, 5, 90, 45)),
            r"Reference 2 shows 2 faces \(at 6, 6 to 39, 39, 51, 6 to 89, 44\): expected exactly",
        ),
    ],
    ids=["none", "two"],
)
def test_a_reference_without_exactly_one_face(windows, message):
    class Second(Model):
        def find(self, picture):
            first = float(picture[0, 0, 0]) > float(picture[0, 0, 1])
            return Model((20, 10, 60, 50)).find(picture) if first else super().find(picture)

    with pytest.raises(ValueError, match=message):
        encode(Second(*windows), people(RED, GREEN))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (people(RED, height=31), "Reference 1 is too small: expected at least 32x32 .* got 100x31"),
        (torch.zeros(1, 64, 64, 3), "Reference 1 shows nothing: it has one colour all over"),
        (torch.full((1, 64, 64, 3), 0.5), "Reference 1 shows nothing"),
        (torch.full((1, 64, 64, 3), float("nan")), "Reference 1 shows nothing"),
        (people(*[RED] * (MOST + 1)), f"Expected 1 to {MOST} references; got {MOST + 1}"),
        (people(RED)[:0], f"Expected 1 to {MOST} references; got 0"),
    ],
    ids=["small", "black", "grey", "nan", "too many", "none"],
)
@pytest.mark.parametrize("find", ["find", WHOLE])
def test_references_that_cannot_be_used(images, message, find):
    with pytest.raises(ValueError, match=message):
        encode(Model((20, 10, 60, 50)), images, find)


def test_different_people_are_told_with_the_measured_spread(caplog):
    model = Model((20, 10, 60, 50))
    with caplog.at_level(logging.WARNING, "mannequin"):
        made, report = encode(model, people(RED, RED, GREEN))
    lowest = float(spread(model, made.pictures).min())
    assert lowest == pytest.approx(0.26, abs=0.02)
    said = "References 1 and 3 may show different people"
    assert said in report and said in caplog.text
    assert f"cosine of {lowest:.2f}, below 0.90" in report
    caplog.clear()
    _, report = encode(model, people(RED, RED))
    assert "different" not in report and not caplog.records


def test_a_small_face_is_told():
    _, report = encode(Model((20, 10, 44, 34)), people(RED))
    assert "The face in reference 1 is small, 24 pixels" in report


def test_more_references_of_another_size():
    model = Model((20, 10, 60, 50))
    first, _ = encode(model, people(RED, RED))
    made, report = encode(model, people(GREEN, height=90, width=150), more=first)
    assert torch.equal(made.vectors[:2], first.vectors) and len(made.vectors) == 3
    assert made.pictures.shape == (3, 64, 64, 3) and "References 1 and 3 may show" in report
    with pytest.raises(ValueError, match=f"Expected 1 to {MOST} references; got {MOST + 1}"):
        encode(model, people(*[RED] * (MOST - 1)), more=first)
    with pytest.raises(ValueError, match="Reference 3 is too small"):
        encode(model, people(RED, height=20), more=first)


class Vision:
    """ComfyUI's CLIP_VISION as far as it is used: 5 tokens of 7 numbers."""

    def encode_image(self, image):
        self.seen = image
        tokens = image.mean((1, 2, 3))[:, None, None].expand(-1, 5, 7)
        return {"penultimate_hidden_states": tokens, "image_embeds": None}


def test_clip_vision_describes_larger_crops():
    vision, model = Vision(), Model((20, 10, 60, 50))
    made, report = encode(model, people(RED, GREEN), clip_vision=vision)
    assert made.pictures.shape == (2, 224, 224, 3) and vision.seen.shape == made.pictures.shape
    assert made.vectors.shape == made.mirrored.shape == (2, 5, 7)
    assert made.source == "clip-vision-7" and "described by clip-vision-7" in report
    assert "may show different people" in report
    plain, _ = encode(model, people(RED))
    with pytest.raises(ValueError, match="more references described by clip-vision-7; got colours"):
        encode(model, people(RED), clip_vision=vision, more=plain)
