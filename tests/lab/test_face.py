import json

import pytest
import torch
from safetensors import safe_open

pytest.importorskip("anny")

from mannequin.hosts.faces import FaceNet
from mannequin.lab.training import face
from mannequin.lab.training.autoencoder import shipped
from mannequin.lab.training.face import (
    calibrate,
    contrastive_loss,
    disturb,
    evaluate,
    prototype_loss,
)

PEOPLE = 4


class Faces:
    """Pictures of PEOPLE people, each of one colour with a little noise."""

    def __init__(self, people: int = PEOPLE) -> None:
        g = torch.Generator().manual_seed(0)
        colour = torch.rand(people, 1, 1, 1, 3, generator=g) * 200
        noise = torch.rand(people, 6, 64, 64, 3, generator=g) * 40
        self.image = (colour + noise).byte().flatten(0, 1)
        who = [
            {"gender": ("male", "female")[k % 2], "age": "young", "skin_tone": 0}
            for k in range(people)
        ]
        self.facts = [f for f in who for _ in range(6)]

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which):
        return self.image[which], None


def test_prototype_loss_against_the_formula():
    torch.manual_seed(0)
    e = torch.randn(6, 5)  # three people, two pictures each
    unit = e / e.norm(dim=1, keepdim=True)
    terms = []
    for i in range(6):
        scores = []
        for person in range(3):
            rows = [r for r in (2 * person, 2 * person + 1) if r != i]
            scores.append(torch.cosine_similarity(unit[i], unit[rows].mean(0), dim=0) / 0.2)
        terms.append(-torch.stack(scores).log_softmax(0)[i // 2])
    got = prototype_loss(e, 2, tau=0.2)
    assert torch.allclose(got, torch.stack(terms).mean(), atol=1e-6)


def test_contrastive_loss_against_the_formula():
    torch.manual_seed(0)
    e, person = torch.randn(4, 5), torch.tensor([1, 1, 0, 0])
    unit = e / e.norm(dim=1, keepdim=True)
    terms = []
    for i, partner in enumerate((1, 0, 3, 2)):
        others = [j for j in range(4) if j != i]
        scores = torch.stack([unit[i] @ unit[j] / 0.2 for j in others])
        terms.append(-scores.log_softmax(0)[others.index(partner)])
    assert torch.allclose(contrastive_loss(e, person, 0.2), torch.stack(terms).mean(), atol=1e-6)


def test_disturbing_keeps_the_range_and_follows_its_seed():
    picture, vae = torch.rand(8, 3, 64, 64) * 2 - 1, shipped()
    one, two, other = (disturb(picture, vae, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == picture.shape and one.abs().max() <= 1
    assert (one != picture).flatten(1).any(1).all()


def test_a_network_takes_crops_of_any_size():
    net = FaceNet((8, 16, 16), 12)
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 12)
    assert net(torch.zeros(1, 3, 200, 150)).shape == (1, 12)


@pytest.mark.parametrize("name", ["encoder", "judge"])
def test_a_few_steps_tell_people_apart(tmp_path, name, monkeypatch):
    monkeypatch.setattr(face, "PEOPLE", PEOPLE)
    pool = Faces()
    torch.manual_seed(0)
    before = evaluate(FaceNet(face.DESIGNS[name].widths, face.DESIGNS[name].dimension), pool)
    trainer, net = face.train(name, pool, tmp_path / "face.safetensors", 12)
    after = evaluate(net, pool)
    assert trainer.step == 12
    assert after["same"] - after["other"] > before["same"] - before["other"] + 0.1
    again, _ = face.train(name, pool, tmp_path / "face.safetensors", 12)
    assert again.step == 12


def test_evaluation_of_a_perfect_and_of_a_blind_network():
    class Perfect(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) * 0 + torch.eye(PEOPLE)[torch.arange(len(x)) // 6][:, :3]

    class Blind(torch.nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 3)

    perfect, blind = evaluate(Perfect(), Faces(3)), evaluate(Blind(), Faces(3))
    assert perfect["accepted"] == perfect["first"] == 1
    assert blind["accepted"] == 0 and blind["same"] == blind["other"] == 1


def test_the_limit_of_likeness_is_passed_by_one_choice_in_twenty():
    class Scattered(torch.nn.Module):
        """Pictures of a person lie around its own corner; now and then one lies far off."""

        def forward(self, x):
            g = torch.Generator().manual_seed(1)
            who = torch.eye(40)[torch.arange(len(x)) // 6]
            return who + 0.05 * torch.randn(len(x), 40, generator=g)

    found = calibrate(Scattered(), Faces(40))
    assert 0.5 < found["alike"] < 1
    assert found["strangers_noticed"] == found["strangers_alike_noticed"] == 1

    class Blind(torch.nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 3)

    assert calibrate(Blind(), Faces(4))["strangers_noticed"] == 0


def test_the_file_holds_both_networks_and_says_where_they_come_from(tmp_path):
    from mannequin.hosts.face_finder import FaceFinder
    from mannequin.hosts.faces import load_face_model
    from mannequin.lab.training import face_finder
    from mannequin.lab.training.loop import Schedule, Trainer

    design = face.DESIGNS["encoder"]
    net, finder = FaceNet(design.widths, design.dimension), FaceFinder(face_finder.WIDTHS)
    trainers = [
        Trainer({"net": n}, Schedule(1), tmp_path / "none.safetensors", 0) for n in (net, finder)
    ]
    out = tmp_path / "face.safetensors"
    face.export(trainers[0], net, design, 7, out, (trainers[1], finder), {"alike": 0.4})
    model = load_face_model(out)
    assert model.name == "mannequin-tiny-face" and model.alike == 0.4
    picture = torch.rand(2, 64, 64, 3)
    theirs = net(picture.movedim(-1, 1) * 2 - 1).detach()
    assert torch.allclose(model.embed(picture)[:, 0], theirs, atol=0.02 * float(theirs.abs().max()))
    with safe_open(out, framework="pt") as file:
        provenance = json.loads(file.metadata()["provenance"])
    assert provenance["licence"] == "Apache-2.0" and provenance["data"].startswith("7 synthetic")
