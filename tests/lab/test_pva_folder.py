"""`mannequin train pva` on a small random pipeline and a few coloured pictures."""

import argparse
import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from mannequin.hosts.adapters import read_adapter
from mannequin.lab.training import pva
from mannequin.lab.training.pva_album import CENTRED, Describer, describe, open_describer
from mannequin.lab.training.pva_folder import consent_summary, read_people
from mannequin.lab.training.pva_learned import Learned
from mannequin.lab.training.pva_pipeline import open_pipeline
from mannequin.methods.person_adapter import WORD
from mannequin.methods.pva import PVA

WIDTH, SIDE = 16, 32
CPU = torch.device("cpu")
COLOURS = [(220, 90, 90), (80, 200, 100), (80, 110, 220)]


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    yield
    for shared in (AcceleratorState, PartialState, GradientState):
        shared._reset_state()


def save_pipeline(folder, channels=9, prediction="epsilon"):
    """A pipeline of SD1.5's kind with random weights, as diffusers saves it."""
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=SIDE,
    ).save_pretrained(folder / "vae")
    letters = [chr(n) for n in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=0,
        eos_token_id=1,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(words)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    named = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 24}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(named))
    DDPMScheduler(prediction_type=prediction).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "small-inpainting")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    CLIPVisionModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    """Three people of one colour each, with 3, 2 and 2 pictures of different brightness."""
    place = tmp_path / "people"
    rng = np.random.default_rng(0)
    for who, (colour, count) in enumerate(zip(COLOURS, (3, 2, 2), strict=True)):
        home = place / f"person{who}"
        home.mkdir(parents=True)
        for k in range(count):
            pixels = np.array(colour) - 25 * k + rng.integers(-20, 20, (40, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(home / f"{k}.png")
    (place / "person0" / "consent.txt").write_text("\nsigned in 2026\nmore\n", encoding="utf-8")
    (place / "person0" / "1.txt").write_text(f"a {WORD} person with a hat", encoding="utf-8")
    return place


@pytest.fixture
def trained(model, clip, folder, tmp_path):
    """Runs the recipe; gives the adapter's path."""

    def run(name="a", steps=4, **more):
        out = tmp_path / f"{name}.safetensors"
        given = {"folder": folder, "model": model, "out": out, "clip-vision": clip}
        given |= {"steps": steps, "batch": 2, "accumulate": 2, **more}
        pva.main([part for key, value in given.items() for part in (f"--{key}", str(value))])
        return out

    return run


def same(one, other):
    assert one.tensors.keys() == other.tensors.keys()
    return all(torch.equal(t, other.tensors[name]) for name, t in one.tensors.items())


def small_album(folder, find=None):
    flat = Describer("colours", 8, lambda p: p.mean((1, 2)).unsqueeze(1), find)
    return describe(read_people(folder)[0], flat)


@pytest.mark.parametrize(
    ("channels", "prediction"), [(9, "epsilon"), (4, "v_prediction"), (9, "sample")]
)
def test_the_loss_falls_and_the_base_stays(channels, prediction, folder, tmp_path):
    base = open_pipeline(save_pipeline(tmp_path / "m", channels, prediction), CPU, torch.float32)
    before = [{k: t.clone() for k, t in n.state_dict().items()} for n in base.networks()]
    album = small_album(folder)
    torch.manual_seed(3)
    loss = pva.Denoising(base, Learned(base.layers(), album.dimension, base.word()))
    batch = album.draw(4, SIDE, np.random.default_rng(5))
    t = torch.tensor([900, 600, 300, 100])
    noise = torch.randn(4, 4, SIDE // 2, SIDE // 2)
    optimizer = torch.optim.AdamW(loss.parameters(), 1e-2)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(batch, t, noise)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.97 * values[0], values
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())
    for network, kept in zip(base.networks(), before, strict=True):
        assert all(torch.equal(t, kept[k]) for k, t in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_without_a_branch_the_error_is_the_bases_own(prediction, tmp_path):
    folder = save_pipeline(tmp_path / "m", prediction=prediction)
    base = open_pipeline(folder, CPU, torch.float32)
    torch.manual_seed(7)
    picture, noise = torch.rand(2, 3, SIDE, SIDE) * 2 - 1, torch.randn(2, 4, SIDE // 2, SIDE // 2)
    region = torch.zeros(2, 1, SIDE, SIDE)
    region[:, :, 8:20, 4:28] = 1
    t, text = torch.tensor([700, 50]), torch.randn(2, 24, WIDTH)
    got = base.error(picture, region, t, noise, text, PVA({}, torch.zeros(1, 1, WIDTH)))

    x0, hidden = (
        base.vae.encode(p).latent_dist.mean * base.vae.config.scaling_factor
        for p in (picture, picture.masked_fill(region > 0, 0))
    )
    a = base.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    noisy = a.sqrt() * x0 + (1 - a).sqrt() * noise
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    out = unet(torch.cat([noisy, region[:, :, ::2, ::2], hidden], 1), t, text).sample
    wanted = {
        "epsilon": noise,
        "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * x0,
        "sample": x0,
    }[prediction]
    torch.testing.assert_close(got, (out - wanted).square().mean())


def test_the_word_is_heard_only_where_it_is_said(model):
    base = open_pipeline(model, CPU, torch.float32)
    plain = base.speak(["a person"], torch.ones(WIDTH))
    assert torch.equal(plain, base.speak(["a person"], torch.zeros(WIDTH)))
    word = torch.ones(WIDTH, requires_grad=True)
    said = base.speak([f"photo of a {WORD} person"], word)
    assert not torch.equal(said, base.speak([f"photo of a {WORD} person"], torch.zeros(WIDTH)))
    said.square().sum().backward()
    assert word.grad.any()


def test_the_adapter_fits_the_base_and_says_where_it_comes_from(trained, model, clip):
    adapter = read_adapter(trained())
    base = open_pipeline(model, CPU, torch.float32)
    branch = adapter.branch(base.layers())
    own = base.layers()
    assert all((branch[name].to_k - own[name].to_k).any() for name in own)
    assert adapter.word.shape == (WIDTH,)
    assert adapter.config["base"] == "small-inpainting"
    assert adapter.config["embedding"] == "clip-vision-8"
    assert adapter.tokens(torch.randn(3, 5, 8)).shape == (1, 10, WIDTH)
    told = adapter.provenance
    assert (told["steps"], told["people"], told["pictures"]) == (4, 3, 7)
    said = "no consent.txt (2 of 3 people); signed in 2026 (1 of 3 people)"
    assert told["consent"] == adapter.consent["consent"] == said
    assert told["made_by"].startswith("mannequin train pva -- --folder people --model small-inp")
    assert "/" not in told["made_by"]
    assert "licence" in told


def test_a_stopped_training_goes_on_bit_by_bit(trained, monkeypatch, tmp_path):
    whole = trained("whole", steps=5)
    number = pva.Denoising.forward
    seen = []

    def forward(*args):
        seen.append(args)
        if len(seen) == 4:  # in the middle of step 2: two batches make one
            signal.raise_signal(signal.SIGINT)
        return number(*args)

    monkeypatch.setattr(pva.Denoising, "forward", forward)
    with pytest.raises(KeyboardInterrupt, match="Stopped after step 2 of 5"):
        trained("parts", steps=5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert [p.name for p in (tmp_path / "parts-training").glob("step-*")] == ["step-2"]
    assert same(read_adapter(trained("parts", steps=5)), read_adapter(whole))
    assert len(seen) == 10
    states = [
        load_file(tmp_path / f"{name}-training" / "step-5" / "model.safetensors")
        for name in ("whole", "parts")
    ]
    assert all(name.startswith("learned.") for name in states[0])
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())
    longer = trained("parts", steps=6)
    assert not same(read_adapter(longer), read_adapter(whole))
    assert len(seen) == 12


def test_a_work_folder_keeps_to_its_settings(trained, folder, tmp_path, capsys):
    trained(steps=1)
    with pytest.raises(SystemExit) as stop:
        trained(steps=2, rate=0.5)
    assert stop.value.code == 2
    assert "rate was 0.0001 and is 0.5" in capsys.readouterr().err
    (folder / "person1" / "0.txt").write_text("a person")
    with pytest.raises(SystemExit):
        trained(steps=2)
    assert "pictures was" in capsys.readouterr().err


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


def test_bad_models_are_named(tmp_path, clip):
    def opened(folder):
        return open_pipeline(folder, CPU, torch.float32)

    with pytest.raises(ValueError, match=r"no such folder.*Nothing is downloaded"):
        opened(tmp_path / "runwayml" / "stable-diffusion-inpainting")
    (tmp_path / "one.safetensors").touch()
    with pytest.raises(ValueError, match=r"a single file.*from_single_file"):
        opened(tmp_path / "one.safetensors")
    (tmp_path / "half" / "unet").mkdir(parents=True)
    with pytest.raises(ValueError, match="vae, text_encoder, tokenizer, scheduler missing"):
        opened(tmp_path / "half")
    (tmp_path / "half" / "text_encoder_2").mkdir()
    with pytest.raises(ValueError, match="SDXL"):
        opened(tmp_path / "half")
    with pytest.raises(ValueError, match="9 for inpainting; got 5"):
        opened(save_pipeline(tmp_path / "odd", channels=5))
    (tmp_path / "odd" / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="not a whole diffusers pipeline"):
        opened(tmp_path / "odd")
    with pytest.raises(ValueError, match=r"--faces FILE.*--clip-vision"):
        open_describer(None, None, CPU)
    with pytest.raises(ValueError, match=r"config\.json"):
        open_describer(None, tmp_path, CPU)


def test_bad_options_end_with_two(trained, capsys):
    for given, said in (({"size": 30}, "steps of 4"), ({"out": "a.ckpt"}, ".safetensors")):
        with pytest.raises(SystemExit) as stop:
            trained(**given)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    with pytest.raises(argparse.ArgumentTypeError):
        pva._positive("0")


def test_the_command_in_the_file_tells_no_paths():
    said = pva._command(["--folder=/home/me/my people", "--out", "x/a.safetensors", "--rate=1e-4"])
    assert said == "mannequin train pva -- '--folder=my people' --out a.safetensors --rate=1e-4"
