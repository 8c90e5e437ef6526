"""Whole workflows with random weights: they run, and what must not change does not."""

import pytest
import torch

from mannequin.headless import NodeError

NAMES = ("pose_transfer", "try_on", "two_references")


def titled(prompt, title):
    """The id of the node with this title."""
    return next(key for key, node in prompt.items() if node["_meta"]["title"] == title)


def without(prompt, *titles):
    return {key: node for key, node in prompt.items() if node["_meta"]["title"] not in titles}


def output(result, prompt, title, index=0):
    return result.outputs[titled(prompt, title)][index]


NOT_WITHOUT_FLOW = (
    "Flow preview",
    "Flow detail transfer",
    "Paste back with detail",
    "Save with detail",
)


@pytest.mark.parametrize("name", NAMES)
def test_workflows_run(name, prompt_of, run):
    prompt = prompt_of(name)
    result = run(prompt)
    assert [path.name for path in result.images] == [
        f"{name}_00001_.png",
        f"{name}_detail_00001_.png",
    ]
    assert len(result.previews) == 1
    preview = output(result, prompt, "Flow preview")
    references = 2 if name == "two_references" else 1
    decoded = output(result, prompt, "Decode")
    assert decoded.shape == (1, 64, 48, 3) and decoded.std() > 0
    assert preview.shape == (1, 64 * 11, 48 * 11 * references, 3)


def test_a_seed_fixes_the_result(prompt_of, run):
    prompt = without(prompt_of("pose_transfer"), *NOT_WITHOUT_FLOW)
    pictures = [
        output(run(prompt, **{"Sample.seed": seed}), prompt, "Decode").clone() for seed in (1, 2, 1)
    ]
    assert torch.equal(pictures[0], pictures[2])
    assert not torch.equal(pictures[0], pictures[1])


def test_strength_zero_looks_at_nothing(prompt_of, run):
    prompt = without(prompt_of("pose_transfer"), *NOT_WITHOUT_FLOW)
    other = {"Load reference.image": "garment_c.png"}
    zero, elsewhere, one, one_elsewhere = (
        output(run(prompt, **{"Flow-guided attention.strength": k, **more}), prompt, "Decode")
        for k in (0, 1)
        for more in ({}, other)
    )
    assert torch.equal(zero, elsewhere)
    assert not torch.equal(one, one_elsewhere)


def test_sampling_without_a_reference_is_named(prompt_of, run):
    prompt = without(prompt_of("pose_transfer"), *NOT_WITHOUT_FLOW)
    sampler = prompt[titled(prompt, "Sample")]
    sampler["inputs"]["model"] = [titled(prompt, "Load person model"), 0]
    plain = without(prompt, "Flow-guided attention", "Encode reference")
    with pytest.raises(NodeError, match=r'"Sample" .* none is connected. Put Flow-Guided'):
        run(plain)


def test_recording_the_flow_does_not_change_the_picture(prompt_of, run):
    prompt = without(prompt_of("pose_transfer"), *NOT_WITHOUT_FLOW)
    on, off = (
        output(run(prompt, **{"Flow-guided attention.record_flow": v}), prompt, "Decode").clone()
        for v in (True, False)
    )
    torch.testing.assert_close(on, off, atol=1e-4, rtol=0)


def test_detail_strength_zero_is_the_picture_itself(prompt_of, run):
    prompt = prompt_of("pose_transfer")
    result = run(prompt, **{"Flow detail transfer.strength": 0})
    assert torch.equal(
        output(result, prompt, "Flow detail transfer"), output(result, prompt, "Decode")
    )


def test_outside_the_mask_the_person_is_bit_identical(prompt_of, run):
    prompt = prompt_of("try_on")
    result = run(prompt)
    person = output(result, prompt, "Load person")
    repainted = output(result, prompt, "Person conditioning", 3)
    garment, hands = (output(result, prompt, f"Load {m} mask") for m in ("garment", "hands"))
    assert torch.equal(repainted, garment * (1 - hands))
    outside = repainted == 0
    for title in ("Paste back", "Paste back with detail"):
        picture = output(result, prompt, title)
        assert torch.equal(picture[outside], person[outside])
        assert not torch.equal(picture[~outside], person[~outside])


def test_an_empty_mask_gives_the_person_back(prompt_of, run, tmp_path):
    from PIL import Image

    empty = tmp_path / "empty.png"
    Image.new("RGB", (48, 64)).save(empty)
    prompt = prompt_of("try_on")
    result = run(prompt, **{"Load garment mask.image": str(empty)})
    for title in ("Paste back", "Paste back with detail"):
        assert torch.equal(output(result, prompt, title), output(result, prompt, "Load person"))


@pytest.mark.parametrize("switch", [{"record_flow": False}, {"strength": 0}])
def test_no_flow_is_a_clear_error_and_the_result_is_saved(prompt_of, run, tmp_path, switch):
    prompt = without(prompt_of("pose_transfer"), "Flow preview")
    settings = {f"Flow-guided attention.{key}": value for key, value in switch.items()}
    with pytest.raises(NodeError, match=r"Flow detail transfer.*No flow was recorded: run the"):
        run(prompt, **settings)
    assert [path.name for path in tmp_path.glob("*.png")] == ["pose_transfer_00001_.png"]


def test_queueing_twice_gives_the_same(prompt_of, run):
    prompt = prompt_of("two_references")
    first = output(run(prompt), prompt, "Flow detail transfer").clone()
    assert torch.equal(output(run(prompt), prompt, "Flow detail transfer"), first)


def test_two_equal_copies_record_a_flow_each(prompt_of, run):
    prompt = prompt_of("pose_transfer")
    chain = ("Flow-guided attention", "Sample", "Decode", "Flow preview")
    copies = {titled(prompt, title): f"copy of {title}" for title in chain}
    for old, new in copies.items():
        inputs = {
            name: [copies.get(v[0], v[0]), v[1]] if isinstance(v, list) else v
            for name, v in prompt[old]["inputs"].items()
        }
        prompt[new] = {**prompt[old], "inputs": inputs, "_meta": {"title": new}}
    result = run(prompt, **{"copy of Sample.seed": 8})
    first, second = (
        output(result, prompt, title, 1)
        for title in ("Flow-guided attention", "copy of Flow-guided attention")
    )
    assert first is not second
    assert not torch.equal(first.field().xy, second.field().xy)
    again = run(prompt, **{"copy of Sample.seed": 8})
    assert output(again, prompt, "Flow-guided attention", 1) is first


def test_a_photograph_of_any_shape_is_a_reference(prompt_of, run, tmp_path):
    from PIL import Image

    wide = tmp_path / "wide.png"
    Image.radial_gradient("L").resize((300, 90)).convert("RGBA").save(wide)
    black = tmp_path / "black.png"
    Image.new("RGB", (16, 16)).save(black)
    prompt = prompt_of("pose_transfer")
    files = {"Load reference.image": str(wide), "Load reference dense pose.image": str(black)}
    result = run(prompt, **files)
    reference = output(result, prompt, "Encode reference")
    assert reference.images.shape == (1, 400, 300, 3)
    assert not reference.dense_pose.any()
