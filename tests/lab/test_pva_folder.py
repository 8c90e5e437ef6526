"""What `mannequin train pva` sees of a folder: people, pictures, faces, captions, consent."""

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from transformers import CLIPVisionModel

from mannequin.lab.training.pipeline_random import SIDE
from mannequin.lab.training.pva_album import CENTRED, Describer, describe, open_describer
from mannequin.lab.training.pva_folder import consent_summary, read_people

CPU = torch.device("cpu")


def small_album(folder, find=None):
    flat = Describer("colours", 8, lambda p: p.mean((1, 2)).unsqueeze(1), find)
    return describe(read_people(folder)[0], flat)


def test_references_are_others_of_the_same_person(folder):
    album = small_album(folder)
    rng = np.random.default_rng(2)
    counts = set()
    for _ in range(20):
        batch = album.draw(3, SIDE, rng)
        assert set(batch.region.unique().tolist()) == {0.0, 1.0}
        for picture, vectors, there in zip(
            batch.picture, batch.vectors[:, :, 0], batch.present, strict=True
        ):
            counts.add(int(there.sum()))
            darker = vectors[there] - (picture.mean((1, 2)) + 1) / 2
            assert (darker.max(1).values - darker.min(1).values < 0.04).all()  # the same colour
            assert (darker.abs().min(1).values > 0.05).all()  # and never the same picture
            assert not vectors[~there].any()
    assert counts == {1, 2}


def test_captions_are_used_half_of_the_time(folder):
    album = small_album(folder)
    rng = np.random.default_rng(4)
    said = [p for _ in range(100) for p in album.draw(4, SIDE, rng).prompts]
    hat = sum("hat" in prompt for prompt in said) / len(said)
    assert 0.02 < hat < 0.11  # one picture of nine in equal shares of three people, half of that


def test_the_face_that_is_found_is_what_is_looked_at(folder):
    class Found:
        window = (10.0, 5.0, 30.0, 25.0)
        box = (15, 10, 25, 35)

    shot = small_album(folder, lambda picture: [Found])
    assert shot.found == 7
    assert shot.shots[0][0].window == Found.window
    assert shot.shots[0][0].face == (0.25, 0.25, 0.75, 1.0)
    twice = small_album(folder, lambda picture: [Found, Found])
    assert twice.found == 0
    assert twice.shots[0][0].window == (4.0, 0.0, 44.0, 40.0)
    assert twice.shots[0][0].face == CENTRED


def test_clip_describes_with_its_penultimate_layer(clip):
    describer = open_describer(None, clip, CPU)
    assert (describer.name, describer.side) == ("clip-vision-8", 32)
    crops = torch.rand(2, 32, 32, 3)
    vectors = describer.embed(crops)
    assert vectors.shape == (2, 5, 8)
    network = CLIPVisionModel.from_pretrained(clip)
    kept = []
    network.get_submodule("encoder.layers.1").register_forward_hook(
        lambda module, given, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    spread = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    network(pixel_values=((crops - mean) / spread).movedim(-1, 1))
    torch.testing.assert_close(vectors, kept[0].detach())


def test_bad_folders_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        read_people(tmp_path / "nowhere")
    (tmp_path / "loose").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "loose" / "a.png")
    with pytest.raises(ValueError, match=r"nobody to learn from.*1 pictures lie in"):
        read_people(tmp_path / "loose")
    (folder / "person1" / "1.png").unlink()
    people, warnings = read_people(folder)
    assert [person.name for person in people] == ["person0", "person2"]
    assert "person1 is left out" in warnings[0]
    assert "No consent.txt for person2." in warnings[1]
    assert "signed in 2026 (1 of 2 people)" in consent_summary(people)


def test_bad_pictures_are_all_named(folder):
    (folder / "person0" / "0.png").write_bytes(b"no picture")
    whole = (folder / "person1" / "0.png").read_bytes()
    (folder / "person1" / "0.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (31, 200)).save(folder / "person2" / "1.png")
    with pytest.raises(ValueError) as error:
        small_album(folder)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "person0" in lines[0] and "cannot be read as a picture" in lines[0]
    assert "person1" in lines[1] and "cannot be read as a picture" in lines[1]
    assert "at least 32x32 pixels; got 31x200" in lines[2]


def test_a_describer_has_to_be_named(tmp_path):
    with pytest.raises(ValueError, match=r"--faces FILE.*--clip-vision"):
        open_describer(None, None, CPU)
    with pytest.raises(ValueError, match=r"config\.json"):
        open_describer(None, tmp_path, CPU)
