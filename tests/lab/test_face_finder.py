import numpy as np
import pytest
import torch

pytest.importorskip("anny")

from mannequin.hosts.face_finder import FaceFinder, votes
from mannequin.lab.people import crops, portraits
from mannequin.lab.training import face_finder
from mannequin.lab.training.face_finder import evaluate, finder_loss, targets, train
from mannequin.lab.training.face_scenes import MOST, NO_WINDOW, SceneMaker, Scenes, window_of
from mannequin.lab.training.inpaint_data import FACE

SKIN, LEFT_HAND = 1, 7


class Pictures:
    """Pictures of one domain: something red in the middle where a face is, green elsewhere."""

    def __init__(self, count, size, kind, seed):
        g = torch.Generator().manual_seed(seed)
        h, w = size
        self.image = torch.randint(0, 90, (count, h, w, 3), generator=g).byte()
        self.image[..., 1] = 200
        self.label = torch.zeros(count, h, w, dtype=torch.uint8)
        if kind is not None:
            rows, columns = slice(h // 4, h // 2), slice(w // 3, 2 * w // 3)
            self.label[:, h // 4 :, w // 4 : 3 * w // 4] = SKIN
            self.label[:, rows, columns] = kind
            red = (255, 0, 0) if kind == FACE else (120, 80, 60)
            self.image[:, rows, columns] = torch.tensor(red).byte()

    def __len__(self):
        return len(self.image)

    def take(self, which):
        return self.image[which], self.label[which]


@pytest.fixture(scope="module")
def maker():
    return SceneMaker(
        Pictures(12, (64, 64), FACE, 0),
        Pictures(4, (64, 64), LEFT_HAND, 1),
        Pictures(4, (128, 96), FACE, 2),
        "train",
    )


def test_the_window_of_a_portrait_is_the_renderers(monkeypatch):
    """What `window_of` draws again is what the portrait was really taken through."""
    taken = []

    class Shot:
        label, image, surface = np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), None

    def take(scene, window, height, width):
        taken.append((crops.windows(scene)[0], window))
        return Shot

    def joints(scene, surface, window):
        return np.zeros((18, 3)), np.zeros((2, 21, 3))

    monkeypatch.setattr(portraits, "take_picture", take)
    monkeypatch.setattr(portraits, "joints_in_picture", joints)
    monkeypatch.setattr(portraits, "FACES", 1)
    portraits.render_portraits(3, "train")
    own, window = taken[0]
    scale = 64 / (window[2] - window[0])
    x, y, side = window_of(3, "train", 0)
    left, top, right, bottom = own
    assert x == pytest.approx(((left + right) / 2 - window[0]) * scale, abs=1e-3)
    assert y == pytest.approx(((top + bottom) / 2 - window[1]) * scale, abs=1e-3)
    assert side == pytest.approx((right - left) * scale, abs=1e-3)


def test_scenes_are_drawn_alike_from_one_seed(maker):
    one, two, other = (maker.batch(12, 80, 64, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one.picture, two.picture) and torch.equal(one.owner, two.owner)
    assert not torch.equal(one.picture, other.picture)
    assert one.picture.shape == (12, 3, 80, 64) and one.picture.abs().max() <= 1
    assert one.window.shape == (12, MOST, 3)


def test_every_named_face_has_its_window(maker):
    scenes = maker.batch(40, 96, 96, np.random.default_rng(0))
    names = [set(owner.unique().tolist()) - {0, NO_WINDOW} for owner in scenes.owner]
    assert max(map(len, names)) >= 2 and sum(not n for n in names) >= 5
    for owner, window, present in zip(scenes.owner, scenes.window, names, strict=True):
        for k in present:
            x, y, side = window[k - 1].tolist()
            rows, columns = (owner == k).nonzero(as_tuple=True)
            assert side > 10
            assert abs(float(columns.float().mean()) - x) < side / 2
            assert abs(float(rows.float().mean()) - y) < side / 2


def scene():
    """One picture with a face of a known window, and one without any."""
    owner = torch.zeros(2, 32, 32, dtype=torch.uint8)
    owner[0, 8:16, 8:20] = 1
    owner[1, 8:16, 8:20] = NO_WINDOW
    window = torch.zeros(2, MOST, 3)
    window[0, 0] = torch.tensor([15.0, 13.0, 24.0])
    return Scenes(torch.zeros(2, 3, 32, 32), owner, window)


def test_targets_of_cells():
    share, window, weight = targets(scene())
    assert share.shape == weight.shape == (2, 16, 16)
    assert float(share[0].sum()) == float(share[1].sum()) == 4 * 6
    assert float(weight[0].sum()) == pytest.approx(1) and not weight[1].any()
    assert (weight[0] > 0).equal(share[0] > 0)
    assert window[0, 5, 5].tolist() == [15, 13, 24]


def perfect(scenes):
    """What a network would say that knows the targets."""
    share, window, _ = targets(scenes)
    h, w = share.shape[1:]
    y, x = (torch.arange(h) + 0.5)[:, None] * 2, (torch.arange(w) + 0.5) * 2
    side = window[..., 2].clamp_min(1)
    return torch.stack(
        [
            (share * 2 - 1) * 20,
            (window[..., 0] - x) / side,
            (window[..., 1] - y) / side,
            (side / 48).log(),
        ],
        1,
    )


def test_the_loss_is_zero_for_the_truth_and_grows_with_every_mistake():
    scenes = scene()
    truth = perfect(scenes)
    assert torch.allclose(votes(truth)[0, 5, 5, 1:], torch.tensor([15.0, 13, 24]), atol=1e-4)
    best = finder_loss(truth, scenes)
    assert float(best["total"]) == pytest.approx(0, abs=1e-4)
    for channel, term in ((0, "mask"), (0, "dice"), (1, "place"), (2, "place"), (3, "place")):
        worse = truth.clone()
        worse[0, channel] += 0.3 if channel else 40
        assert float(finder_loss(worse, scenes)[term]) > float(best[term]) + 0.01
    outside = truth.clone()
    outside[0, 1, 0, 0] += 5
    assert float(finder_loss(outside, scenes)["place"]) == pytest.approx(0, abs=1e-4)


def test_a_few_steps_learn_and_a_finished_run_is_not_repeated(maker, tmp_path, monkeypatch):
    monkeypatch.setattr(face_finder, "WIDTHS", (8, 16))
    monkeypatch.setattr(face_finder, "SIZES", (64,))
    path = tmp_path / "finder.safetensors"
    scenes = maker.batch(24, 64, 64, np.random.default_rng(9))
    torch.manual_seed(face_finder.SEED)
    before = finder_loss(FaceFinder((8, 16))(scenes.picture), scenes)["total"]
    trainer, net = train(lambda: maker, path, 30)
    after = finder_loss(net(scenes.picture), scenes)["total"]
    assert trainer.step == 30 and float(after.detach()) < 0.8 * float(before.detach())

    def never():
        raise AssertionError("a finished run needs no pictures")

    again, same = train(never, path, 30)
    assert again.step == 30
    assert torch.equal(same(scenes.picture), net(scenes.picture))


def test_evaluation_of_a_blind_network(maker):
    net = FaceFinder((8, 16))
    with torch.no_grad():
        net.leave.weight.zero_()
        net.leave.bias.fill_(-9)
    found = evaluate(net, maker, 4)
    assert found["nobody"] == found["hands"] == 1
    assert found["one portrait"] == found["two in one"] == found["whole people"] == 0
