"""The tiny branch learns beside its frozen base."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.hosts import diffusers as host
from mannequin.hosts import lending
from mannequin.hosts.adapters import read_adapter
from mannequin.hosts.faces import FaceNet
from mannequin.lab.people.portrait_shards import write_portraits
from mannequin.lab.training import inpaint_random, pva_tiny
from mannequin.lab.training.inpaint_data import Pool
from mannequin.methods.person_adapter import WORD


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A working folder with two people, a random base and a random face network."""
    work = tmp_path_factory.mktemp("work")
    write_portraits(work / "portraits", 0, 2, "train")
    base = inpaint_random.build(0, work / "base.safetensors")
    torch.manual_seed(0)
    net = FaceNet((8, 16, 16), 12)
    about = {"mannequin": json.dumps({"widths": [8, 16, 16], "dimension": 12})}
    tensors = {f"face.{name}": t for name, t in net.state_dict().items()}
    save_file(tensors, work / "face.safetensors", about)
    return work, base, work / "face.safetensors"


def test_it_trains_writes_and_goes_on(files, tmp_path, monkeypatch):
    monkeypatch.setattr(pva_tiny, "ROWS", 4)
    work, base, faces = files
    before = load_file(base)
    written = []
    for steps in (1, 3):
        written.append(tmp_path / f"{steps}.safetensors")
        pva_tiny.run(work, base, faces, written[-1], steps)
    first, last = (read_adapter(path) for path in written)
    assert last.provenance["steps"] == 3
    model, *_ = host.load_inpaint_model(base)
    assert len(last.branch(lending.layers(host, model))) == 9
    moved = [name for name, t in last.tensors.items() if not torch.equal(t, first.tensors[name])]
    assert {name.split(".")[0] for name in moved} == {"branch", "identity", "word"}
    assert all(torch.equal(t, before[name]) for name, t in load_file(base).items())


def test_captions_with_the_word_are_of_known_words(files):
    work, base, _ = files
    _, clip, _ = host.load_inpaint_model(base)
    pool, rng = Pool("face", work / "portraits"), np.random.default_rng(0)
    said = [pva_tiny.caption(pool.prompt(i % len(pool), rng), rng) for i in range(60)]
    assert [text for text in said if clip.tokenizer.unknown(text)] == []
    assert 15 < sum(text.startswith(f"photo of a {WORD} ") for text in said) < 45
    older = pva_tiny.caption("the face of an older man", np.random.default_rng(0))
    assert older == f"photo of a {WORD} older man"
