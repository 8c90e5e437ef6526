"""`mannequin train pva` on a small random pipeline and a few coloured pictures."""

import argparse
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import UNet2DConditionModel

from mannequin.hosts.adapters import read_adapter
from mannequin.lab.training import pva
from mannequin.lab.training.pipeline_random import SIDE, WIDTH, save_pipeline
from mannequin.lab.training.pva_album import Describer, describe
from mannequin.lab.training.pva_folder import read_people
from mannequin.lab.training.pva_learned import Learned
from mannequin.lab.training.pva_pipeline import open_pipeline
from mannequin.methods.person_adapter import WORD
from mannequin.methods.pva import PVA

CPU = torch.device("cpu")
COLOURS = Describer("colours", 8, lambda p: p.mean((1, 2)).unsqueeze(1), None)


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    yield
    for shared in (AcceleratorState, PartialState, GradientState):
        shared._reset_state()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "small-inpainting")


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


@pytest.mark.parametrize(
    ("channels", "prediction"), [(9, "epsilon"), (4, "v_prediction"), (9, "sample")]
)
def test_the_loss_falls_and_the_base_stays(channels, prediction, folder, tmp_path):
    base = open_pipeline(save_pipeline(tmp_path / "m", channels, prediction), CPU, torch.float32)
    before = [{k: t.clone() for k, t in n.state_dict().items()} for n in base.networks()]
    album = describe(read_people(folder)[0], COLOURS)
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
    seen, before = [], signal.getsignal(signal.SIGINT)

    def forward(*args):
        seen.append(args)
        if len(seen) == 4:  # in the middle of step 2: two batches make one
            signal.raise_signal(signal.SIGINT)
        return number(*args)

    monkeypatch.setattr(pva.Denoising, "forward", forward)
    with pytest.raises(KeyboardInterrupt, match="Stopped after step 2 of 5"):
        trained("parts", steps=5)
    assert signal.getsignal(signal.SIGINT) is before
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


def test_bad_models_are_named(tmp_path):
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
