import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("anny")

from mannequin.lab.training import attributes
from mannequin.lab.training.attributes import (
    VALUES,
    AttributeReader,
    accuracy,
    answers,
    load_reader,
)


class Faces:
    """Bright faces smile, dark ones frown; nothing else is different."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        level = torch.tensor([40, 200]).repeat(8)[:, None, None, None]
        self.image = (level + torch.rand(16, 64, 64, 3, generator=g) * 30).byte()
        plain = {name: values[0] for name, values in VALUES.items()}
        self.facts = [plain | {"expression": ("frown", "smile")[i % 2]} for i in range(16)]

    def __len__(self) -> int:
        return 16

    def take(self, which):
        return self.image[which], None


def test_the_colour_of_no_hair_does_not_count():
    bald, short = ({name: v[0] for name, v in VALUES.items()} for _ in range(2))
    short = short | {"hair_style": "short", "hair_colour": "red"}
    true = answers([bald, short])
    assert true["hair_colour"].tolist() == [-100, VALUES["hair_colour"].index("red")]
    assert true["hair_style"].tolist() == [0, 2]


def test_a_few_steps_learn_to_read(tmp_path, monkeypatch):
    monkeypatch.setattr(attributes, "BATCH", 16)
    monkeypatch.setattr(attributes, "WIDTHS", (8, 8, 8, 16))
    pool = Faces()
    trainer, reader = attributes.train(pool, tmp_path / "training.safetensors", 30)
    assert trainer.step == 30
    assert accuracy(reader, pool)["expression"] == 1
    picture = pool.image[:2].movedim(-1, 1).float() / 127.5 - 1
    assert [found["expression"] for found in reader.read(picture)] == ["frown", "smile"]
    save_file(reader.state_dict(), tmp_path / "reader.safetensors")
    again = load_reader(tmp_path / "reader.safetensors")
    assert isinstance(again, AttributeReader) and again.read(picture) == reader.read(picture)
