"""What artists connect by mistake: each error says what was expected, what came, what to do."""

import pytest
import torch

from mannequin.headless import folders


@pytest.fixture
def execute(nodes, person_model):
    """execute(node id, **inputs) with the random-weight model where one is asked for."""
    model, vae = person_model

    def execute(name, **inputs):
        node = nodes[name]
        wants = {spec.id for spec in node.GET_SCHEMA().inputs}
        given = {"model": model, "vae": vae} if "vae" in wants else {}
        with torch.inference_mode():
            return node.execute(**given, **inputs).args

    return execute


@pytest.fixture
def flow(nodes, person_model, make, execute):
    """(flow, decoded picture, reference) of a run."""
    from mannequin.hosts.diffusers import sample

    model, vae = person_model
    (reference,) = execute("MannequinReferenceEncoder", image=make.picture(1))
    positive, negative, latent, _ = execute(
        "MannequinPersonConditioning", dense_pose=make.dense_pose()
    )
    patched, flow = (
        nodes["MannequinFlowGuidedAttention"].execute(model, reference, 1.0, 0.0, 1.0, True).args
    )
    with torch.inference_mode():
        out = sample(patched, 1, 1, 1.0, "euler", "simple", positive, negative, latent)
        return flow, vae.decode(out["samples"]), reference


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"broken.safetensors is empty \(0 bytes\): expected a safetensors file"),
        (b"half", r"broken.safetensors is not a whole safetensors file .*truncated"),
        (None, r"broken.safetensors is not a whole safetensors file .*truncated"),
    ],
    ids=["empty", "no header", "cut off"],
)
def test_a_broken_model_file(nodes, model_folder, tmp_path, content, message):
    if content is None:
        whole = (model_folder / "random.safetensors").read_bytes()
        content = whole[: len(whole) // 2]
    (tmp_path / "broken.safetensors").write_bytes(content)
    paths = folders.folder_names_and_paths["mannequin"][0]
    paths.insert(0, str(tmp_path))
    try:
        with pytest.raises(ValueError, match=message) as error:
            nodes["MannequinLoadPersonModel"].execute("broken.safetensors")
    finally:
        paths.remove(str(tmp_path))
    assert str(tmp_path) in str(error.value)


def test_a_model_of_another_kind(nodes, model_folder, tmp_path):
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    paths = folders.folder_names_and_paths["mannequin"][0]
    paths.insert(0, str(tmp_path))
    try:
        with pytest.raises(ValueError, match="is not a person model: expected tensors"):
            nodes["MannequinLoadPersonModel"].execute("lora.safetensors")
    finally:
        paths.remove(str(tmp_path))


def test_a_missing_model(nodes, model_folder):
    with pytest.raises(FileNotFoundError, match=r"the folders .* have .*random.safetensors"):
        nodes["MannequinLoadPersonModel"].execute("gone.safetensors")


def test_a_photograph_as_dense_pose(execute, make):
    for name, inputs in (
        ("MannequinPersonConditioning", {}),
        ("MannequinReferenceEncoder", {"image": make.picture(0)}),
    ):
        with pytest.raises(ValueError, match="not a dense pose: expected red = 10 x part index"):
            execute(name, dense_pose=make.picture(5), **inputs)


def test_a_resized_dense_pose(execute, make):
    small = make.dense_pose().movedim(-1, 1)
    blended = torch.nn.functional.interpolate(small, (37, 29), mode="bilinear").movedim(1, -1)
    with pytest.raises(ValueError, match="not a dense pose"):
        execute("MannequinPersonConditioning", dense_pose=blended)


def test_a_mask_without_a_person(execute, make):
    with pytest.raises(ValueError, match=r"there is no picture\. Connect the person input"):
        execute(
            "MannequinPersonConditioning",
            dense_pose=make.dense_pose(),
            garment_mask=make.garment_mask(),
        )


def test_masks_of_another_size(execute, make):
    inputs = {"dense_pose": make.dense_pose(), "person": make.picture(0)}
    *_, latent, repainted = execute(
        "MannequinPersonConditioning", garment_mask=make.garment_mask(128, 96), **inputs
    )
    assert repainted.shape == (1, 64, 48)
    assert latent["noise_mask"].shape == (1, 1, 16, 12)
    with pytest.raises(ValueError, match="garment mask with the proportions of the picture"):
        execute("MannequinPersonConditioning", garment_mask=torch.ones(1, 48, 64), **inputs)
    with pytest.raises(ValueError, match=r"one hand-protect mask or one for each of 1"):
        execute("MannequinPersonConditioning", hand_protect_mask=torch.ones(3, 64, 48), **inputs)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 49), (300, 400)])
def test_references_of_any_size(execute, make, size):
    (reference,) = execute("MannequinReferenceEncoder", image=make.picture(0, h=size[0], w=size[1]))
    assert reference.latents.shape[-2:] == (32, 24)
    assert reference.images.shape[1] * 3 == pytest.approx(reference.images.shape[2] * 4, abs=4)


def test_a_person_too_small_for_the_model(execute, make):
    tiny = torch.zeros(1, 1, 1, 3)
    with pytest.raises(ValueError, match="at least 4x4 pixels; got 1x1"):
        execute("MannequinPersonConditioning", dense_pose=tiny, person=tiny)


def test_flow_that_was_never_recorded(execute, make):
    from mannequin.methods.flow_record import FlowRecord

    (reference,) = execute("MannequinReferenceEncoder", image=make.picture(1))
    inputs = {"flow": FlowRecord(), "image": make.picture(2), "reference": reference}
    for name, more in (
        ("MannequinFlowPreview", {"mode": "arrows"}),
        ("MannequinFlowDetailTransfer", {"strength": 1.0, "threshold": 0.1}),
    ):
        with pytest.raises(ValueError, match="No flow was recorded: run the sampler first"):
            execute(name, **inputs, **more)


def test_flow_of_another_run(execute, make, flow):
    record, picture, reference = flow
    (two,) = execute("MannequinReferenceEncoder", image=make.picture(1, 2))
    for image, ref in ((picture.repeat(2, 1, 1, 1), reference), (picture, two)):
        for name, more in (
            ("MannequinFlowPreview", {"mode": "arrows"}),
            ("MannequinFlowDetailTransfer", {"strength": 1.0, "threshold": 0.1}),
        ):
            with pytest.raises(ValueError, match=r"The flow belongs to 1 picture\(s\) looking at"):
                execute(name, flow=record, image=image, reference=ref, **more)


def test_a_detail_mask_of_another_size(execute, flow):
    record, picture, reference = flow
    inputs = {"flow": record, "image": picture, "reference": reference}
    inputs |= {"strength": 1.0, "threshold": 0.0}
    image, weight = execute("MannequinFlowDetailTransfer", mask=torch.zeros(1, 64, 64), **inputs)
    assert torch.equal(image, picture) and not weight.any()
    with pytest.raises(ValueError, match="Expected a mask with the proportions of the picture"):
        execute("MannequinFlowDetailTransfer", mask=torch.ones(1, 64, 64), **inputs)


def test_start_after_end(nodes, person_model, execute, make):
    (reference,) = execute("MannequinReferenceEncoder", image=make.picture(1))
    with pytest.raises(ValueError, match=r"start \(0.8\) must not lie after its end \(0.2\)"):
        nodes["MannequinFlowGuidedAttention"].execute(
            person_model[0], reference, 1.0, 0.8, 0.2, True
        )
