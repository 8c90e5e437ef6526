"""Training on somebody's own pictures with keypoints."""

import json

import pytest
import torch
from PIL import Image

pytest.importorskip("anny")

from mannequin.hosts.hands import load_hand_model
from mannequin.lab.training import hands, hands_random, hands_tiny


def hand(x, y, side):
    points = [[x, y]] + [
        [x + (finger - 2) * 4 * joint / 2, y - 5 - 5 * joint]
        for finger in range(5)
        for joint in range(1, 5)
    ]
    return {"side": side, "points": points}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    for k in range(4):
        Image.effect_noise((96, 80), 40 + k).convert("RGB").save(place / f"{k}.png")
        told = {"hands": [hand(30, 60, "left"), hand(64, 70, "right")]}
        (place / f"{k}.json").write_text(json.dumps(told))
    mask = Image.new("L", (96, 80))
    mask.paste(255, (10, 30, 50, 64))
    mask.save(place / "0.mask1.png")
    (place / "consent.txt").write_text("my own hands\n")
    return place


def test_left_hands_are_mirrored_and_masks_are_found_or_made(folder):
    pool = hands.read_hands(folder, 64)
    assert len(pool) == 8 and pool.image.shape == (8, 64, 64, 3)
    drawn, made = pool.mask[0].float().mean(), pool.mask[2].float().mean()
    assert 0.3 < drawn < 1 and 0.1 < made < 0.9 and drawn != made
    assert pool.points[0, 1, 0] > pool.points[0, 17, 0]  # the thumb of a mirrored left hand
    assert (pool.points[..., :2] > 0).all() and (pool.points[..., :2] < 64).all()


def test_what_cannot_be_learned_from_is_told(folder, tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        hands.read_hands(tmp_path / "nowhere", 64)
    (folder / "0.json").unlink()
    with pytest.raises(ValueError, match="at least 8 hands to learn from; got 6"):
        hands.read_hands(folder, 64)
    (folder / "1.json").write_text("{}")
    with pytest.raises(ValueError, match=r"1\.json: Expected frames"):
        hands.read_hands(folder, 64)
    Image.new("L", (5, 5)).save(folder / "2.mask1.png")
    (folder / "1.json").unlink()
    with pytest.raises(ValueError, match="mask of 96x80 pixels, as its picture; got 5x5"):
        hands.read_hands(folder, 64)


def test_it_trains_on_from_a_model_and_says_so(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(hands_tiny, "BATCH", 4)
    base = hands_random.build(0, tmp_path / "base.safetensors")
    out = tmp_path / "mine.safetensors"
    hands.main([str(folder), "--base", str(base), "--out", str(out), "--steps", "2"])
    before, after = load_hand_model(base), load_hand_model(out)
    assert any(
        not torch.equal(p, after.net.state_dict()[name])
        for name, p in before.net.state_dict().items()
    )
    from safetensors import safe_open

    with safe_open(out, framework="pt") as file:
        provenance = json.loads(file.metadata()["provenance"])
    assert provenance["consent"] == "my own hands" and provenance["hands"] == 8
    assert provenance["base"] == "base.safetensors"
