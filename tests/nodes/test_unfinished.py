"""What Personalize Face has done so far: found again for the same task only, and not for ever."""

import os
from dataclasses import replace

import pytest
import torch

from mannequin.headless import folders
from mannequin.hosts import diffusers
from mannequin.hosts.lending import lend
from mannequin.methods.personalize import Personalization, Tuning
from mannequin.methods.pva import FaceEmbedding


@pytest.fixture
def unfinished(nodes, tmp_path):
    """The module; it keeps its files below tmp_path."""
    from mannequin.nodes import unfinished

    with folders.writing_to(tmp_path):
        yield unfinished


@pytest.fixture
def task(adapter):
    """What the name of a state is made from."""
    vectors = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0))
    pictures, masks = torch.rand(2, 8, 8, 3), torch.ones(2, 8, 8)
    return {
        "adapter": adapter,
        "faces": FaceEmbedding(vectors, vectors + 1, "net", pictures, masks),
        "probe": [torch.ones(1, 4), torch.zeros(2)],
        "tuning": Tuning(),
    }


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "previews").rglob("*.*"))


def test_only_the_number_of_steps_is_no_other_task(unfinished, task):
    name = unfinished.key(**task)
    assert unfinished.key(**{**task, "tuning": Tuning(steps=80)}) == name
    faces = task["faces"]
    others = [
        {"tuning": Tuning(seed=1)},
        {"tuning": Tuning(rate=1e-4)},
        {"faces": replace(faces, source="another")},
        {"faces": replace(faces, vectors=faces.vectors.flip(0))},
        {"faces": replace(faces, faces=faces.faces / 2)},
        {"probe": [torch.ones(1, 4), torch.full((2,), 1e-6)]},
        {"adapter": task["adapter"].with_tensors({"word": torch.zeros(96)})},
    ]
    names = [unfinished.key(**{**task, **other}) for other in others]
    assert len({name, *names}) == 1 + len(others)


def test_a_state_comes_back_and_its_file_may_be_replaced(unfinished, tmp_path):
    assert unfinished.find("a") is None
    for value in (1.0, 2.0):
        unfinished.keep("a", {"x": torch.full((3,), value), "done": torch.tensor(4)})
        found = unfinished.find("a")
        assert torch.equal(found["x"], torch.full((3,), value)) and int(found["done"]) == 4
    assert kept(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize(
    ("most", "room", "left"), [(2, 1 << 30, "cd"), (8, 9000, "cd"), (8, 1, "d")]
)
def test_the_newest_stay(unfinished, tmp_path, monkeypatch, most, room, left):
    monkeypatch.setattr(unfinished, "MOST", most)
    monkeypatch.setattr(unfinished, "ROOM", room)
    for number, name in enumerate("abcd"):
        unfinished.keep(name, {"x": torch.zeros(1000)})
        for path in tmp_path.rglob(f"{name}.safetensors"):
            os.utime(path, (number, number))
    unfinished.keep(left[-1], {"x": torch.zeros(1000)})
    assert kept(tmp_path) == [f"{name}.safetensors" for name in left]


def test_a_disk_that_takes_no_more_loses_no_result(unfinished, tmp_path, monkeypatch, caplog):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(unfinished, "save_file", full)
    unfinished.keep("a", {"x": torch.zeros(3)})
    assert "could not keep its work" in caplog.text and "No space left" in caplog.text
    assert kept(tmp_path) == []


def test_a_model_that_differs_anywhere_is_another_task(inpaint_parts, adapter):
    vectors = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0))
    faces = FaceEmbedding(
        vectors, vectors, "mannequin-tiny-face", torch.rand(2, 64, 64, 3), torch.ones(2, 64, 64)
    )
    weight = inpaint_parts[0].unet.unet.conv_in.weight
    probes = []
    with lend(diffusers, *inpaint_parts) as base, torch.no_grad():
        work = Personalization(adapter, faces, base, Tuning())
        for change in (0, 0, 1e-3, -1e-3):
            weight += change
            probes.append(torch.cat([t.flatten() for t in work.probe()]))
    assert torch.equal(probes[0], probes[1]) and not torch.equal(probes[1], probes[2])
