"""`mannequin convert`: published checkpoints become files that both hosts open."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mannequin.headless.convert import convert
from mannequin.hosts import diffusers as host
from mannequin.lab.training.models import build_published


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return build_published(0, tmp_path_factory.mktemp("published") / "virtual_tryon.pth")


def test_every_tensor_arrives_and_the_metadata_tells_where_from(checkpoint, tmp_path):
    seen = []
    path, config = convert(
        checkpoint, tmp_path / "out.safetensors", progress=lambda *n: seen.append(n)
    )
    state = torch.load(checkpoint, weights_only=True)
    written = load_file(path)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["mannequin"]) == config
    provenance = json.loads(metadata["provenance"])
    assert provenance["source"] == "virtual_tryon.pth" and len(provenance["sha256"]) == 64
    assert seen[-1] == (checkpoint.stat().st_size,) * 2


@pytest.mark.parametrize(("family", "width", "pose"), [("sd15", 32, "rgb"), ("sdxl", 64, "iuv")])
def test_shapes_tell_the_configuration(family, width, pose, tmp_path):
    source = build_published(1, tmp_path / "x.pth", family, width)
    path, config = convert(source)
    assert path == tmp_path / "x.safetensors"
    assert (config["family"], config["dense_pose"]) == (family, pose)
    model, vae = host.load_person_model(path)
    heads = model.unet.unet.config.attention_head_dim
    assert heads == (8 if family == "sd15" else [1, 2, 2])
    assert vae.encode(torch.rand(1, 64, 48, 3)).shape == (1, 4, 8, 6)


def test_a_safetensors_file_without_configuration_is_understood(tmp_path):
    path = build_published(2, tmp_path / "bare.safetensors")
    model, _ = host.load_person_model(path)
    assert host.model_config(model)["family"] == "sd15"


def test_half_halves_the_file(checkpoint, tmp_path):
    path, _ = convert(checkpoint, tmp_path / "half.safetensors", half=True)
    assert path.stat().st_size < 0.52 * checkpoint.stat().st_size
    assert all(t.dtype == torch.float16 for t in load_file(path).values())


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"unet.x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="a file that wants to run code is refused"):
        convert(tmp_path / "evil.pth")
    assert not marker.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.pth"]


def bad(tmp_path, kind):
    path = tmp_path / "bad.pth"
    if kind == "plain":
        torch.save(
            {"model.diffusion_model.x": torch.zeros(1), "cond_stage.y": torch.zeros(1)}, path
        )
    elif kind == "rooms only":
        torch.save({f"{r}.x": torch.zeros(1) for r in ("unet", "unet_encoder", "vae")}, path)
    elif kind == "truncated":
        torch.save({"unet.x": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "a list":
        torch.save([torch.zeros(1)], path)
    elif kind == "safetensors":
        path = tmp_path / "x.safetensors"
        save_file({"unet.x": torch.zeros(1)}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("plain", "missing unet, unet_encoder, vae, found cond_stage, model. Plain SD1.5"),
        ("rooms only", "not a published Leffa checkpoint: expected the tensors of a UNet"),
        ("truncated", "it cannot be read"),
        ("a list", "expected tensors under unet"),
        ("safetensors", "a safetensors file already"),
    ],
)
def test_what_cannot_be_converted_is_named(tmp_path, kind, message):
    with pytest.raises(ValueError, match=message):
        convert(bad(tmp_path, kind), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_nothing_is_overwritten(checkpoint, tmp_path):
    there = tmp_path / "there.safetensors"
    there.write_text("mine")
    with pytest.raises(FileExistsError, match="Remove it, or name another with --out"):
        convert(checkpoint, there)
    assert there.read_text() == "mine"


@pytest.mark.slow
def test_a_large_checkpoint_needs_little_memory(tmp_path):
    """The most that a fresh process holds besides mapped files stays far below the file's size."""
    source = build_published(0, tmp_path / "wide.pth", "sd15", 192)
    size = source.stat().st_size / 1e6
    program = """
        import sys, threading, time
        from pathlib import Path
        from mannequin.headless.convert import convert

        def anonymous():
            lines = open("/proc/self/status").read().splitlines()
            return int(next(l for l in lines if l.startswith("RssAnon")).split()[1]) / 1e3

        peak, before, done = [0.0], anonymous(), threading.Event()

        def watch():
            while not done.wait(0.01):
                peak[0] = max(peak[0], anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        convert(Path(sys.argv[1]))
        done.set()
        watcher.join()
        print(peak[0] - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), source],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert size > 400
    assert 0 < float(done.stdout) < 0.3 * size
