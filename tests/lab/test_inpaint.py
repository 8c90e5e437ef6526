import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

pytest.importorskip("anny")

from mannequin.hosts.text import make_text
from mannequin.lab.people import phrases
from mannequin.lab.people.backdrop import KINDS
from mannequin.lab.people.identity import AGES, BUILDS, GENDERS, HAIR_COLOURS, HAIR_STYLES
from mannequin.lab.people.looks import BEARDS, EXPRESSIONS, FRAMES, GLASSES
from mannequin.lab.people.phrases import Speaker
from mannequin.lab.people.recipe import recipe_of
from mannequin.lab.training import inpaint_code
from mannequin.lab.training.autoencoder import shipped
from mannequin.lab.training.inpaint import (
    InpaintLoss,
    concat,
    heldout_loss,
    inpaint_config,
    make_inpaint,
    make_trainer,
)
from mannequin.lab.training.inpaint_data import DOMAINS, Batch, Pool, box_of, grow, paint_region
from mannequin.lab.training.inpaint_features import FaceFeatures
from mannequin.lab.training.loop import Schedule
from mannequin.lab.training.vocabulary import TEXT

ROOT = Path(__file__).parents[2]


def facts(k: int) -> dict:
    """The k-th combination of what a face or hand can be, every value once in a few dozen."""

    def turn(values, step):
        return values[k * step % len(values)]

    glasses = turn(GLASSES, 1)
    return {
        "gender": turn(GENDERS, 1),
        "age": turn(AGES, 1),
        "build": turn(BUILDS, 1),
        "skin_tone": k % 6,
        "hair_style": turn(HAIR_STYLES, 1),
        "hair_colour": turn(tuple(HAIR_COLOURS), 1),
        "expression": turn(EXPRESSIONS, 1),
        "beard": turn(BEARDS, 1),
        "glasses": glasses,
        "frame": None if glasses in ("no glasses", "sunglasses") else turn(tuple(FRAMES), 1),
        "freckles": k % 2 == 0,
        "top": {"colour": "dark teal"},
        "top_share": 0.2,
        "side": ("left", "right")[k % 2],
        "gesture": ("open", "relaxed", "fist", "pointing")[k % 4],
    }


def test_the_vocabulary_holds_every_word_of_the_prompts():
    tokenizer, _ = make_text(TEXT)
    said = []
    for k in range(420):
        say = Speaker(np.random.default_rng(k))
        said += [phrases.face(facts(k), say), phrases.hand(facts(k), say)]
        said.append(phrases.scene([facts(k), facts(k + 1)], KINDS[k % len(KINDS)], say))
    for seed in range(120):
        found = recipe_of(seed, "train").attributes()
        said += [phrases.body(who, found["frame"], Speaker()) for who in found["people"]]
    assert not set(itertools.chain.from_iterable(map(tokenizer.unknown, said)))
    assert max(len(tokenizer.split(prompt)) for prompt in said) <= TEXT["length"] - 2


def test_the_whole_prompt_says_everything():
    who = facts(8) | {"beard": "full beard", "gender": "male"} | {"frame": "red"}
    who |= {"glasses": "round glasses", "expression": "laugh", "freckles": True}
    prompt = phrases.face(who, Speaker())
    for part in ("man", "laughing", "a full beard", "red round glasses", "freckles", "teal top"):
        assert part in prompt


def test_a_prompt_leaves_out_parts_but_never_says_what_is_not_there():
    who = facts(3)
    whole = set(phrases.face(who, Speaker()).replace(",", "").split())
    lengths = set()
    for k in range(40):
        prompt = phrases.face(who, Speaker(np.random.default_rng(k)))
        lengths.add(prompt.count(","))
        other = set(prompt.replace(",", "").split()) - whole
        assert other <= {"a", "an", "person", "face", "glasses", "eyes", "smile", "laugh", "frown"}
    assert len(lengths) > 3


@pytest.fixture
def label():
    out = torch.zeros(64, 64, dtype=torch.uint8)
    out[20:44, 22:42] = 6
    out[10:20, 22:42] = 2
    return out


def test_every_region_asks_for_something(label):
    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        for _ in range(60):
            region = paint_region(label, domain, rng)
            assert region.shape == (64, 64)
            assert set(region.unique().tolist()) <= {0.0, 1.0}
            assert region.sum() > 0


def test_regions_of_a_face_cover_it_leave_it_or_are_strokes(label):
    rng = np.random.default_rng(1)
    inside = [float(paint_region(label, "face", rng)[label == 6].mean()) for _ in range(120)]
    assert inside.count(1.0) > 50 and inside.count(0.0) > 3 and any(0.0 < i < 1.0 for i in inside)


def test_grow_and_box():
    one = torch.zeros(9, 9)
    one[4, 4] = 1
    assert grow(one, 2).sum() == 25
    one[2, 6] = 1
    assert box_of(one > 0, 1).sum() == 5 * 5
    assert box_of(torch.zeros(4, 4), 0).all()


def test_what_is_masked_does_not_reach_the_network():
    vae = shipped()
    g = torch.Generator().manual_seed(0)
    picture, other = torch.rand(2, 2, 3, 32, 32, generator=g)
    region = torch.zeros(2, 1, 32, 32)
    region[:, :, 5:19, 9:30] = 1
    other = torch.where(region > 0, other, picture)
    assert torch.equal(concat(vae, picture, region), concat(vae, other, region))
    assert concat(vae, picture, region).shape == (2, 13, 8, 8)


class Noise(Pool):
    """A pool without files: coloured noise about which nothing new can be said."""

    def __init__(self) -> None:
        pass

    def __len__(self) -> int:
        return 8

    def refresh(self) -> None:
        pass

    def take(self, which):
        g = torch.Generator().manual_seed(int(which.sum()))
        image = torch.randint(256, (len(which), 32, 32, 3), generator=g, dtype=torch.uint8)
        return image, torch.ones(len(which), 32, 32, dtype=torch.uint8)

    def draw(self, count, g):
        picture = torch.rand(2, 3, 32, 32, generator=g) * 2 - 1
        return Batch(picture, torch.ones(2, 1, 32, 32), ["a face", "a hand"], "face")


@pytest.fixture
def config():
    small = inpaint_config()
    small["unet"] |= {"block_out_channels": [16, 16, 16], "attention_head_dim": [1, 1, 1]}
    return small


def pools() -> dict[str, Pool]:
    return {name: Noise() for name in DOMAINS}


def test_the_code_keeps_dark_pictures_and_is_made_once(tmp_path):
    vae = inpaint_code.load_code(tmp_path, pools(), steps=2)
    again = inpaint_code.load_code(tmp_path, {}, steps=2)
    for name, value in vae.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    dark = torch.rand(1, 3, 8, 8) * 0.1 - 1
    assert torch.allclose(vae.untoned(vae.toned(dark)), dark, atol=1e-5)
    assert vae.toned(dark).std() > 3 * dark.std()
    z = vae.encode(Noise().draw(2, torch.Generator().manual_seed(3)).picture)
    assert z.square().mean().sqrt() == pytest.approx(inpaint_code.SIZE, rel=0.25)


def test_an_interrupted_training_ends_like_an_unbroken_one(tmp_path, config):
    def train(path, *stops):
        for stop in stops:
            trainer, loss = make_trainer(config, shipped(), pools(), path, Schedule(4, warmup=1))
            trainer.run(loss, until=lambda: trainer.step >= stop)  # noqa: B023
        return trainer.averaged()

    whole = train(tmp_path / "whole.safetensors", 4)
    broken = train(tmp_path / "broken.safetensors", 2, 4)
    for room, state in whole.items():
        for name, value in state.items():
            assert torch.allclose(value, broken[room][name], atol=1e-6), f"{room}.{name}"
    torch.manual_seed(1)
    fresh = make_inpaint(config)[0].state_dict()
    assert not torch.equal(whole["unet"]["conv_in.weight"], fresh["conv_in.weight"])


def test_features_count_what_is_painted_and_faces_without_eyes(tmp_path):
    vae = inpaint_code.load_code(tmp_path, pools(), steps=1)
    features, g = FaceFeatures.load(vae), torch.Generator()
    portrait = Image.open(ROOT / "workflows" / "inputs" / "portrait_a.png").convert("RGB")
    x = torch.from_numpy(np.array(portrait)).movedim(-1, 0)[None] / 127.5 - 1
    target, mask = vae.encode(x), torch.ones(1, 1, 16, 16)

    def measure(out, mask=mask, seed=0):
        return features(out, target, mask, g.manual_seed(seed))

    assert all(value == 0 for value in measure(target).values())
    inside = torch.zeros_like(mask)
    inside[..., 4:12] = 1
    elsewhere = torch.where(inside > 0, target, target + 1)
    assert all(value == 0 for value in measure(elsewhere, inside).values())
    blurred = F.avg_pool2d(F.pad(x, (4,) * 4, mode="replicate"), 9, 1)
    brighter = x + (blurred - x).square().mean().sqrt()
    for seed in range(4):  # on and off the tone curve
        flat, light = (measure(vae.encode(one), seed=seed) for one in (blurred, brighter))
        assert flat["features"] > 1.2 * light["features"]
    out = target.clone().requires_grad_()
    sum(measure(out + 0.1).values()).backward()
    assert out.grad.isfinite().all() and out.grad.any()


def test_critics_tell_noise_from_a_face_and_say_where(tmp_path):
    vae = shipped()
    features, g = FaceFeatures.load(vae), torch.Generator()
    features.judged_by_critics(tmp_path / "critics.safetensors")
    portrait = Image.open(ROOT / "workflows" / "inputs" / "portrait_a.png").convert("RGB")
    x = torch.from_numpy(np.array(portrait)).movedim(-1, 0)[None] / 127.5 - 1
    target, mask = vae.encode(x), torch.zeros(1, 1, 16, 16)
    mask[..., 4:12] = 1
    noisy = (target + torch.randn(target.shape, generator=g.manual_seed(0))).requires_grad_()
    features.critics.warm = 30
    assert all(features(noisy, target, mask, g)["critics"] == 0 for _ in range(30))
    before = [one.clone() for one in features.critics.critic.parameters()]
    wrong = features(noisy, target, mask, g)["critics"]
    wrong.backward()
    assert wrong > features(target, target, mask, g)["critics"]
    assert noisy.grad[..., 4:12].any() and not noisy.grad[..., :3].any()
    assert not torch.equal(before[0], features.critics.critic.heads[0][0].bias)
    while features.critics.done % 200:
        features(noisy.detach(), target, mask, g)
    saved = features.critics.critic.parameters()
    again = FaceFeatures.load(vae)
    again.judged_by_critics(tmp_path / "critics.safetensors")
    assert again.critics.warm == 0
    stored = again.critics.critic.parameters()
    assert all(torch.equal(a, b) for a, b in zip(saved, stored, strict=True))


def test_text_reaches_the_picture_and_is_trained(config):
    torch.manual_seed(0)
    unet, tokenizer, text = make_inpaint(config)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    loss = InpaintLoss(unet, tokenizer, text, shipped(), pools())
    loss(1, torch.Generator().manual_seed(0))["total"].backward()
    used = text.embed.weight.grad.abs().sum(1) > 0
    assert used[tokenizer.index["face"]] and not used[tokenizer.index["moustache"]]
    measured = heldout_loss(loss, pools(), 2)
    assert measured["face_999"] != measured["face_999_other_text"]
