"""Bad input on a real ComfyUI server: the node names what is wrong, and the queue goes on."""

import pytest
from safetensors.torch import load_file, save_file

from mannequin.lab.training.models import build_published


@pytest.fixture
def wrong(every_node) -> dict:
    return every_node()


@pytest.fixture
def refused(server, every_node):
    """refused(workflow): (node type, message) of the error that ends it; a good one then runs."""

    def run(workflow: dict) -> tuple[str, str]:
        kind, message = server.run(workflow)["status"]["messages"][-1]
        assert kind == "execution_error"
        assert server.paint(every_node())
        return message["node_type"], message["exception_message"]

    return run


def add(workflow: dict, name: str, kind: str, **inputs) -> list:
    """Puts one more node into a workflow; the wire from its first output."""
    workflow[name] = {"class_type": kind, "inputs": inputs}
    return [name, 0]


@pytest.fixture
def model_file(server):
    """model_file(name): a path among the server's models, removed afterwards."""
    made = []

    def path_of(name: str):
        made.append(server.folder / "models" / "mannequin" / name)
        return made[-1]

    yield path_of
    for path in made:
        path.unlink(missing_ok=True)


def test_a_picture_that_is_no_dense_pose(refused, wrong):
    wrong["target_pose"]["inputs"]["image"] = "random_source.png"
    node, message = refused(wrong)
    assert node == "MannequinPersonConditioning"
    assert "not a dense pose" in message
    assert "lossless PNG" in message


@pytest.mark.parametrize(
    ("place", "node"),
    [
        ("reference", "MannequinReferenceEncoder"),
        ("conditioning", "MannequinPersonConditioning"),
        ("attention", "MannequinFlowGuidedAttention"),
    ],
)
def test_a_model_of_another_family(refused, wrong, place, node):
    wrong[place]["inputs"]["model"] = add(wrong, "other", "TestOtherFamily")
    where, message = refused(wrong)
    assert where == node
    assert "Expected a person model" in message
    assert "got Flux" in message
    assert "Connect the MODEL of Load Person Model" in message


def test_a_published_file_that_is_not_converted(refused, wrong, model_file, tmp_path):
    build_published(0, tmp_path / "leffa.pth").replace(model_file("leffa.pth"))
    wrong["model"]["inputs"]["model_name"] = "leffa.pth"
    node, message = refused(wrong)
    assert node == "MannequinLoadPersonModel"
    assert "expected a .safetensors file; got .pth" in message
    assert "mannequin convert leffa.pth" in message


def test_a_file_with_half_of_its_tensors(refused, wrong, model_file, person_file):
    tensors = load_file(person_file)
    half = {key: t for key, t in tensors.items() if not key.startswith("unet_encoder.")}
    save_file(half, model_file("half.safetensors"))
    wrong["model"]["inputs"]["model_name"] = "half.safetensors"
    node, message = refused(wrong)
    assert node == "MannequinLoadPersonModel"
    assert "missing unet_encoder" in message


@pytest.mark.parametrize(
    ("place", "node"),
    [
        ("reference", "MannequinReferenceEncoder"),
        ("conditioning", "MannequinPersonConditioning"),
    ],
)
def test_a_vae_of_another_width(refused, wrong, place, node):
    wrong[place]["inputs"]["vae"] = add(wrong, "other", "TestOtherVAE")
    if place == "conditioning":
        wrong[place]["inputs"]["person"] = ["source", 0]
    where, message = refused(wrong)
    assert where == node
    assert "Expected a VAE that makes latents of 12 channels" in message
    assert "this one makes 3 channels" in message
    assert "second output of Load Person Model" in message


def test_a_reference_without_person_conditioning(refused, wrong):
    text = add(wrong, "text", "TestPlainText")
    wrong["sampler"]["inputs"].update(positive=text, negative=text)
    node, message = refused(wrong)
    assert node == "KSampler"
    assert "Expected conditioning that brings mask, masked picture and dense pose" in message
    assert "got none" in message
    assert "Person Conditioning" in message


def test_person_conditioning_without_a_reference(refused, wrong):
    wrong["sampler"]["inputs"]["model"] = ["model", 0]
    for output in ("detail", "preview", "saved_preview", "saved_detail"):
        del wrong[output]
    node, message = refused(wrong)
    assert node == "KSampler"
    assert "none is connected" in message
    assert "Put Flow-Guided Attention between" in message


def test_a_latent_of_another_size(refused, wrong):
    latent = add(wrong, "empty", "EmptyLatentImage", width=256, height=256, batch_size=1)
    wrong["sampler"]["inputs"]["latent_image"] = latent
    node, message = refused(wrong)
    assert node == "KSampler"
    assert "24x32 cells" in message
    assert "Connect the latent of the same Person Conditioning" in message


def test_more_pictures_than_poses(refused, wrong):
    poses = add(wrong, "two", "ImageBatch", image1=["target_pose", 0], image2=["target_pose", 0])
    wrong["conditioning"]["inputs"]["dense_pose"] = poses
    many = add(wrong, "many", "RepeatLatentBatch", samples=["conditioning", 2], amount=2)
    wrong["sampler"]["inputs"]["latent_image"] = many
    node, message = refused(wrong)
    assert node == "KSampler"
    assert "Expected a latent of 2 picture(s)" in message
    assert "got 4 picture(s)" in message


def test_more_dense_poses_than_references(refused, wrong):
    poses = add(wrong, "two", "ImageBatch", image1=["source_pose", 0], image2=["source_pose", 0])
    wrong["reference"]["inputs"]["dense_pose"] = poses
    node, message = refused(wrong)
    assert node == "MannequinReferenceEncoder"
    assert "dense pose for each of 1 reference picture(s); got 2" in message
