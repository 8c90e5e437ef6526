import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mannequin.hosts.face_finder import FaceFinder
from mannequin.hosts.faces import FaceNet, load_face_model

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "family": "mannequin-tiny-face",
    "widths": [8, 16, 16],
    "dimension": 12,
    "finder": {"widths": [8, 16]},
    "alike": 0.3,
}


def write(path, config=CONFIG, without="", **changed):
    torch.manual_seed(0)
    rooms = {"face": FaceNet((8, 16, 16), 12), "finder": FaceFinder((8, 16))}
    tensors = {f"{r}.{k}": v.half() for r, m in rooms.items() for k, v in m.state_dict().items()}
    tensors = {k: v.contiguous() for k, v in tensors.items() if not without or without not in k}
    about = None if config is None else {"mannequin": json.dumps({**config, **changed})}
    save_file(tensors, path, about)
    return path


def test_a_model_describes_and_finds(tmp_path):
    model = load_face_model(write(tmp_path / "face.safetensors"))
    assert (model.name, model.alike) == ("mannequin-tiny-face", 0.3)
    pictures = torch.rand(3, 64, 64, 3)
    vectors = model.embed(pictures)
    assert vectors.shape == (3, 1, 12) and vectors.dtype == torch.float32
    one = model.net(pictures[1:2].movedim(-1, 1) * 2 - 1)
    assert torch.allclose(vectors[1], one, atol=1e-5)
    assert isinstance(model.find(torch.rand(70, 50, 3)), list)
    assert not any(p.requires_grad for m in (model.net, model.finder) for p in m.parameters())


def test_crops_of_any_size_are_described(tmp_path):
    model = load_face_model(write(tmp_path / "face.safetensors"))
    assert model.embed(torch.rand(1, 224, 224, 3)).shape == (1, 1, 12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"face.safetensors is empty \(0 bytes\)"),
        (b"half", r"face.safetensors is not a whole safetensors file"),
        (None, r"face.safetensors: no such file. Put the model into models/mannequin/faces"),
    ],
    ids=["empty", "no header", "missing"],
)
def test_a_broken_file(tmp_path, content, message):
    path = tmp_path / "face.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_face_model(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": "finder."}, "is not a face model: expected .* missing finder.*Face Encoder"),
        ({"config": None}, "expected a configuration in the metadata; got none"),
        (
            {"family": "other"},
            "expected a model whose family is 'mannequin-tiny-face'; got 'other'",
        ),
        ({"widths": [8, 16]}, "the weights do not fit their configuration"),
        ({"finder": {"width": 8}}, "the weights do not fit their configuration"),
        ({"alike": "often"}, "the weights do not fit their configuration"),
        ({"without": "face.leave.bias"}, "the weights do not fit their configuration"),
    ],
    ids=["no finder", "no metadata", "family", "widths", "unknown", "limit", "a tensor less"],
)
def test_a_file_of_another_kind(tmp_path, options, message):
    path = write(tmp_path / "face.safetensors", **options)
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(path)
    assert str(path) in str(error.value)


def test_a_person_model_is_named_as_such(tmp_path):
    tensors = {f"{room}.x": torch.zeros(1) for room in ("unet", "unet_encoder", "vae")}
    save_file(tensors, tmp_path / "person.safetensors")
    with pytest.raises(ValueError, match="is a person model, not a face model: put it into"):
        load_face_model(tmp_path / "person.safetensors")


def test_the_shipped_file_finds_and_tells_apart_the_example_portraits():
    model = load_face_model(ROOT / "weights" / "faces" / "mannequin-tiny-face.safetensors")

    def picture(name):
        pixels = Image.open(ROOT / "workflows" / "inputs" / f"{name}.png").convert("RGB")
        return torch.from_numpy(np.asarray(pixels).copy()).float() / 255

    names = ("portrait_a", "portrait_a_second", "portrait_a_third", "portrait_b")
    pictures = [picture(name) for name in names]
    assert [len(model.find(p)) for p in pictures] == [1, 1, 1, 1]
    assert len(model.find(picture("pair_ab"))) == 2
    vectors = torch.nn.functional.normalize(model.embed(torch.stack(pictures))[:, 0], dim=-1)
    cosine = vectors @ vectors.mT
    assert cosine[0, 1:3].min() > model.alike > cosine[:3, 3].max()
