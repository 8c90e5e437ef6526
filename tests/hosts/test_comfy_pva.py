"""Parallel visual attention on a real ComfyUI, against the embedded host.

`pva_child.py` says how each case is made on ComfyUI.
"""

import runpy
from pathlib import Path

import pytest
import torch

from mannequin.headless.text_nodes import CLIPTextEncode, InpaintModelConditioning
from mannequin.hosts import diffusers as embedded
from mannequin.hosts import lending
from mannequin.lab.training.inpaint_random import build
from mannequin.methods.person_adapter import WORD, new_adapter
from mannequin.methods.personalize import Personalization, Tuning
from mannequin.methods.pva import PVA, FaceEmbedding, layers_named

CASES = runpy.run_path(str(Path(__file__).with_name("pva_cases.py")))
PROMPT = CASES["PROMPT"]


@pytest.fixture(scope="module")
def inpaint_file(tmp_path_factory):
    return build(5, tmp_path_factory.mktemp("inpaint") / "random.safetensors")


@pytest.fixture(scope="module")
def out(comfy_child, inpaint_file):
    return comfy_child("pva_child.py", inpaint_file)


@pytest.fixture(scope="module")
def loaded(inpaint_file):
    return embedded.load_inpaint_model(inpaint_file)


@pytest.fixture(scope="module")
def adapter(loaded):
    return CASES["shaken"](new_adapter, lending.layers(embedded, loaded[0]))


def who(seed=1):
    return CASES["person"](FaceEmbedding, seed)


def told(loaded, clip=None, batch=1):
    _, own_clip, vae = loaded
    picture, mask = CASES["picture_and_mask"]()
    both = [CLIPTextEncode.execute(t, clip or own_clip).args[0] for t in (PROMPT, "")]
    pixels = picture.repeat(batch, 1, 1, 1)
    return InpaintModelConditioning.execute(*both, vae, pixels, mask, True).args


def paint(loaded, *methods, cfg=2.5, batch=1):
    model = loaded[0]
    for method in methods:
        model = embedded.patch(model, method)
    with torch.inference_mode():
        given = told(loaded, batch=batch)
        return embedded.sample(model, 7, 3, cfg, "euler", "simple", *given)["samples"]


def pva(loaded, adapter, seed=1, layers=None, **options):
    branch = adapter.branch(lending.layers(embedded, loaded[0]))
    if layers:
        branch = layers_named(branch, coarse=layers == "coarse")
    return PVA(branch, adapter.tokens(who(seed).vectors), **options)


def same(a, b, tolerance=1e-3):
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * b.abs().max())


def far(a, b):
    return bool((a - b).abs().max() > 0.005 * b.abs().max())


def test_off_is_bit_identical_to_the_base(out, loaded, adapter):
    for case in ("off", "base_again", "base_at_last"):
        assert torch.equal(out[case], out["base"]), case
    mine = paint(loaded)
    assert torch.equal(paint(loaded, pva(loaded, adapter, strength=0.0)), mine)
    nobody = PVA(pva(loaded, adapter).branch, torch.zeros(1, 0, 96))
    assert torch.equal(paint(loaded, nobody), mine)


@pytest.mark.parametrize(
    ("case", "options", "sampling"),
    [
        ("on", {}, {}),
        ("half", {"strength": 0.5}, {}),
        ("everywhere", {"everywhere": True}, {}),
        ("coarse", {"layers": "coarse"}, {}),
        ("batch", {}, {"batch": 2}),
        ("unguided", {}, {"cfg": 1.0}),
    ],
)
def test_both_hosts_paint_the_same(out, loaded, adapter, case, options, sampling):
    assert same(out[case], paint(loaded, pva(loaded, adapter, **options), **sampling))
    assert out[case].shape != out["base"].shape or far(out[case], out["base"])
    assert case == "on" or out[case].shape != out["on"].shape or far(out[case], out["on"])


def test_the_part_of_the_run_counts(out):
    assert far(out["never"], out["on"]), "the last step alone is less than all of them"


def test_two_people_share_the_softmax(out, loaded, adapter):
    both = [pva(loaded, adapter, seed) for seed in (1, 2)]
    assert same(out["two"], paint(loaded, *both))
    assert far(out["two"], out["on"])


def test_the_learned_word_reaches_the_text(out, loaded, adapter):
    clip = embedded.with_words(loaded[1], {WORD: adapter.word})
    assert same(out["word"], told(loaded, clip)[0][0][0], 1e-5)
    assert far(out["word"], out["no_word"])


def test_a_neighbour_on_the_cross_attention_keeps_what_it_adds(out):
    assert far(out["neighbour"], out["base"])
    for case in ("neighbour_before", "neighbour_after"):
        assert far(out[case], out["neighbour"]) and far(out[case], out["on"]), case
    assert same(out["neighbour_before"], out["neighbour_after"])


def test_an_attention_chosen_for_the_model_is_asked_for_rows_without_identity(out):
    assert out["asked_for_text"] == 3 * 9, "three steps, nine layers, the unconditional rows"
    assert torch.equal(out["chosen"], out["on"])


def test_a_lora_stays(out):
    assert far(out["lora"], out["base"])
    assert far(out["lora_on"], out["lora"]) and far(out["lora_on"], out["on"])


def test_tuning_inside_the_graph_is_the_same_on_both_hosts(out, loaded, adapter):
    with torch.inference_mode(), lending.lend(embedded, *loaded) as base:
        work = Personalization(adapter, who(), base, Tuning(5, 1e-3, seed=3))
        for _ in range(5):
            work.step()
        mine = work.result()
    assert mine.personal and torch.equal(mine.vectors, who().vectors)
    changed = 0
    for name, t in mine.tensors.items():
        assert same(out[f"tuned_{name}"], t, 2e-3), name
        changed += far(t, adapter.tensors[name]) if name in adapter.tensors else 0
    assert changed >= 28, "27 projections and the word have learned"
    assert far(out["tuned"], out["on"])
