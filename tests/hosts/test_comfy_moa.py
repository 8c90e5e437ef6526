"""Several people in one scene on a real ComfyUI; the tiny model against the embedded host.

`moa_child.py` says how each case is made on ComfyUI.
"""

import runpy
from pathlib import Path

import pytest
import torch

from mannequin.headless.text_nodes import CLIPTextEncode, InpaintModelConditioning
from mannequin.hosts import diffusers as embedded
from mannequin.hosts import lending
from mannequin.hosts.routers import read_router, write_router
from mannequin.hosts.subjects import bind, subject
from mannequin.lab.training.inpaint_random import build
from mannequin.lab.training.moa_learned import own_projections
from mannequin.methods.moa import MoA, RoutedAdapters, RouteRecord
from mannequin.methods.moa_weights import new_weights
from mannequin.methods.person_adapter import new_adapter
from mannequin.methods.pva import FaceEmbedding

CASES = runpy.run_path(str(Path(__file__).with_name("pva_cases.py")))
PROMPT = "a scene of a man beside a woman"


@pytest.fixture(scope="module")
def inpaint_file(tmp_path_factory):
    """The tiny model with random weights, and beside it a router with random experts."""
    path = build(5, tmp_path_factory.mktemp("inpaint") / "random.safetensors")
    own = own_projections(embedded.load_inpaint_model(path)[0])
    torch.manual_seed(2)
    made = new_weights(own, "mannequin-tiny-inpaint", CASES["SOURCE"], CASES["DIMENSION"])
    for t in made.tensors.values():
        if t.ndim == 2:
            t += torch.randn_like(t) * max(float(t.std()) / 2, 0.1)
    write_router(path.with_name("random-moa.safetensors"), made)
    return path


@pytest.fixture(scope="module")
def out(comfy_child, inpaint_file):
    return comfy_child("moa_child.py", inpaint_file)


@pytest.fixture(scope="module")
def loaded(inpaint_file):
    return embedded.load_inpaint_model(inpaint_file)


def halves(height, width):
    left = torch.zeros(1, height, width)
    left[..., : width // 2 - width // 8] = 1
    return left, left.flip(-1)


def people(masks=(None, None)):
    chain = ()
    for word, seed, mask in zip(("man", "woman"), (1, 2), masks, strict=True):
        chain = subject(word, CASES["person"](FaceEmbedding, seed), mask, chain)
    return chain


def paint(loaded, inpaint_file, masks=(None, None), trained=True, cfg=2.5, batch=1, **how):
    """The latent of the embedded host, and the first person's share."""
    model, clip, vae = loaded
    record = RouteRecord()
    with torch.inference_mode():
        positive, bound = bind(embedded, clip, PROMPT, people(masks))
        if trained:
            experts = read_router(inpaint_file.with_name("random-moa.safetensors"))
            method = MoA(experts, bound, record=record, **how)
        else:
            base = lending.layers(embedded, model)
            adapter = CASES["shaken"](new_adapter, base)
            method = RoutedAdapters.of(adapter, base, bound, record=record, **how)
        picture, mask = CASES["picture_and_mask"]()
        negative = CLIPTextEncode.execute("", clip).args[0]
        pixels = picture.repeat(batch, 1, 1, 1)
        told = InpaintModelConditioning.execute(positive, negative, vae, pixels, mask, True).args
        patched = embedded.patch(model, method)
        latent = embedded.sample(patched, 7, 3, cfg, "euler", "simple", *told)["samples"]
    return latent, record.share(0)


def same(a, b, tolerance=1e-3):
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * b.abs().max())


def far(a, b):
    return bool((a - b).abs().max() > 0.003 * b.abs().max())


@pytest.mark.parametrize("clip", ["SD15", "SD20", "SDXL"])
def test_a_word_is_found_where_its_tokens_are(out, clip):
    def places(case):
        return out[f"places_{clip}_{case}"].tolist()

    assert places("plain") == [[5]]
    assert places("weighted") == [[5]]
    assert places("two") == [[2, 3], [6, 7]]
    assert places("none") == [[]]
    for case, count in (("plain", 1), ("weighted", 1), ("late", 1)):
        tokens = out[f"tokens_{clip}_{case}"]
        (row,) = places(case)
        assert tokens[row[-1]] == out["man"] and (tokens == out["man"]).sum() == count
        assert len(tokens) == out[f"length_{clip}_{case}"]
    assert places("late")[0][0] > 77, "in the second chunk"
    inside = out[f"tokens_{clip}_inside"]
    assert (inside == out["man"]).sum() == 2, "the made-up word ends in the pieces of man"
    assert places("inside") == [[int((inside == out["man"]).nonzero()[-1])]]


def test_strength_zero_is_bit_identical_to_no_node(out):
    for case in ("trained_off", "masks_off", "tiny_again"):
        assert torch.equal(out[case], out["tiny"]), case
    for name in ("sd15", "sdxl"):
        assert torch.equal(out[f"{name}_off"], out[name])
        assert torch.equal(out[f"{name}_again"], out[f"{name}_on"])


@pytest.mark.parametrize(
    ("case", "how"),
    [
        ("trained", {}),
        ("trained_half", {"strength": 0.5, "layers": "coarse", "temperature": 0.5}),
        ("trained_masks", {"masks": halves(64, 64)}),
        ("masks", {"masks": halves(64, 64), "trained": False}),
        ("attention", {"trained": False}),
        ("trained_batch", {"batch": 2}),
        ("trained_unguided", {"cfg": 1.0}),
    ],
)
def test_both_hosts_paint_the_same(out, loaded, inpaint_file, case, how):
    mine, share = paint(loaded, inpaint_file, **how)
    assert same(out[case], mine)
    assert out[case].shape != out["tiny"].shape or far(out[case], out["tiny"])
    if f"{case}_share" in out:
        assert same(out[f"{case}_share"], share)


def test_masks_say_to_a_trained_router_who_stands_where(out):
    assert far(out["trained_masks"], out["trained"])
    free, where = out["trained_share"], out["trained_masks_share"]
    right = halves(*free.shape[-2:])[1] > 0
    assert where[right].mean() < free[right].mean()


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_people_are_painted_inside_their_masks(out, name):
    assert far(out[f"{name}_on"], out[name])
    assert far(out[f"{name}_free"], out[name]) and far(out[f"{name}_free"], out[f"{name}_on"])
    for who, mask in enumerate(halves(64, 128), 1):
        share = out[f"{name}_mask_{who}"]
        assert share.shape == mask.shape
        assert share[mask > 0].mean() > 0.85 and share[mask.flip(-1) > 0].mean() < 0.1
    both = out[f"{name}_mask_1"] + out[f"{name}_mask_2"]
    assert same(out[f"{name}_mask_0"], both, 1e-2)


def test_a_longer_negative_prompt_changes_nothing_but_itself(out):
    assert same(out["sd15_long_negative"], out["sd15_on"])
    assert same(out["sd15_free_long_negative"], out["sd15_free"])


def test_a_lora_counts_before_and_after(out):
    assert torch.equal(out["sd15_lora_before"], out["sd15_lora_after"])
    assert far(out["sd15_lora"], out["sd15"])
    assert far(out["sd15_lora_after"], out["sd15_on"])
    assert far(out["sd15_lora_after"], out["sd15_lora"])


def test_a_control_net_counts_too(out):
    assert far(out["sd15_control"], out["sd15_on"])
    assert far(out["sd15_control"], out["sd15_control_alone"])


def test_another_node_on_the_same_attention_counts_in_either_order(out):
    assert torch.equal(out["sd15_pva_before"], out["sd15_pva_after"])
    assert far(out["sd15_pva_before"], out["sd15_pva"])
    assert far(out["sd15_pva_before"], out["sd15_on"])
