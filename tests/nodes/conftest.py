"""A random-weight person model, example pictures, and the node classes with stand-ins in place."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from mannequin.headless import folders, run_workflow
from mannequin.headless.registry import registry
from mannequin.hosts import diffusers
from mannequin.hosts.adapters import write_adapter
from mannequin.hosts.lending import layers
from mannequin.hosts.routers import write_router
from mannequin.lab.training import hands_random, inpaint_random, pose_head_random
from mannequin.lab.training.models import build
from mannequin.lab.training.random_parts import build_aligner, build_branch, build_face_model
from mannequin.lab.workflows import ROOT
from mannequin.methods.moa_weights import new_weights
from mannequin.methods.person_adapter import new_adapter
from mannequin.methods.pva import Projections

MODEL, ADAPTER, FACE_MODEL = "random.safetensors", "random-pva.safetensors", "blind.safetensors"
ROUTER = "random-moa.safetensors"
ALIGNER, POSE_MODEL = "random-aligner.safetensors", "random-pose.safetensors"
HANDS, BRANCH = "random-hands.safetensors", "random-branch.safetensors"
DIMENSION = 12  # of the random face network's vectors
H, W = 64, 48


@pytest.fixture(scope="session")
def nodes():
    """All node classes by id."""
    return registry()


@pytest.fixture
def execute(nodes):
    """execute(node id, **inputs): a node's outputs, as an engine calls it."""

    def execute(node_id, **inputs):
        with torch.inference_mode():
            return nodes[node_id].execute(**inputs).args

    return execute


@pytest.fixture(scope="session")
def model_folder(nodes, tmp_path_factory):
    """A folder that Load Person Model lists, with random weights in it."""
    folder = tmp_path_factory.mktemp("models")
    build(0, folder / MODEL)
    folders.add_model_folder_path("mannequin", str(folder))
    return folder


@pytest.fixture(scope="session")
def inpaint_model(nodes, tmp_path_factory):
    """The name of an inpainting model with random weights that Load Inpaint Model lists."""
    folder = tmp_path_factory.mktemp("inpaint")
    inpaint_random.build(0, folder / "random-inpaint.safetensors")
    folders.add_model_folder_path("mannequin_inpaint", str(folder))
    return "random-inpaint.safetensors"


@pytest.fixture(scope="session")
def inpaint_parts(nodes, inpaint_model):
    """(model, clip, vae) of that model."""
    return nodes["MannequinLoadInpaintModel"].execute(inpaint_model).args


@pytest.fixture(scope="session")
def face_model(nodes, tmp_path_factory):
    """A face model with random weights whose finder never finds anything; Face Encoder lists it."""
    path = build_face_model(tmp_path_factory.mktemp("faces") / FACE_MODEL, DIMENSION)
    folders.add_model_folder_path("mannequin_faces", str(path.parent))
    return path


@pytest.fixture(scope="session")
def adapter(inpaint_parts):
    """A PersonAdapter for the random inpainting model, with other weights than the text's."""
    torch.manual_seed(1)
    base = layers(diffusers, inpaint_parts[0])
    made = new_adapter(base, "mannequin-tiny-inpaint", "mannequin-tiny-face", DIMENSION)
    shaken = {
        name: t + torch.randn_like(t) * t.std() / 2
        for name, t in made.tensors.items()
        if t.ndim == 2
    }
    return made.with_tensors({**shaken, "word": torch.randn(96) / 3})


@pytest.fixture(scope="session")
def adapter_file(nodes, adapter, tmp_path_factory):
    """The file of that adapter; Load Person Adapter lists it."""
    path = tmp_path_factory.mktemp("adapters") / ADAPTER
    write_adapter(path, adapter)
    folders.add_model_folder_path("mannequin_adapters", str(path.parent))
    return path


@pytest.fixture(scope="session")
def router_file(nodes, inpaint_parts, tmp_path_factory):
    """A router with random experts for the random inpainting model; MoA Router lists it."""
    torch.manual_seed(2)
    unet, own = inpaint_parts[0].unet.unet, {}
    for name, processor in unet.attn_processors.items():
        layer, kind, _ = processor.where
        attn = unet.get_submodule(name.removesuffix(".processor"))
        weights = (getattr(attn, room).weight.clone() for room in ("to_q", "to_k", "to_v"))
        own.setdefault(layer, {})[kind] = Projections(*weights)
    made = new_weights(own, "mannequin-tiny-inpaint", "mannequin-tiny-face", DIMENSION)
    for t in made.tensors.values():
        if t.ndim == 2:
            t += torch.randn_like(t) * max(float(t.std()), 0.1)
    path = tmp_path_factory.mktemp("routers") / ROUTER
    write_router(path, made)
    folders.add_model_folder_path("mannequin_routers", str(path.parent))
    return path


@pytest.fixture(scope="session")
def aligner_file(nodes, person_model, tmp_path_factory):
    """An aligner with random weights for the random person model; Recurrent Pose Aligner lists
    it.
    """
    path = build_aligner(tmp_path_factory.mktemp("aligners") / ALIGNER, person_model[0])
    folders.add_model_folder_path("mannequin_aligners", str(path.parent))
    return path


@pytest.fixture(scope="session")
def pose_model_file(nodes, tmp_path_factory):
    """A pose model with random weights; Pose Guidance and Pose Check list it."""
    path = tmp_path_factory.mktemp("poses") / POSE_MODEL
    pose_head_random.build(4, path)
    folders.add_model_folder_path("mannequin_poses", str(path.parent))
    return path


@pytest.fixture(scope="session")
def hand_model_file(nodes, tmp_path_factory):
    """A hand model with random weights; Hand Stage and Hand Repair list it."""
    path = hands_random.build(0, tmp_path_factory.mktemp("hands") / HANDS)
    folders.add_model_folder_path("mannequin_hands", str(path.parent))
    return path


@pytest.fixture(scope="session")
def branch_file(nodes, inpaint_parts, tmp_path_factory):
    """A pose branch with random weights for the random inpainting model; Outpaint Blender lists
    it.
    """
    path = build_branch(tmp_path_factory.mktemp("branches") / BRANCH, inpaint_parts[0])
    folders.add_model_folder_path("mannequin_branches", str(path.parent))
    return path


@pytest.fixture(scope="session")
def random_files(
    model_folder,
    inpaint_model,
    face_model,
    adapter_file,
    router_file,
    aligner_file,
    pose_model_file,
    hand_model_file,
    branch_file,
):
    """What the loaders of a workflow are given in place of the files that it names: {class:
    {input: value}}.
    """
    return {
        "MannequinLoadPersonModel": {"model_name": MODEL},
        "MannequinLoadInpaintModel": {"model_name": inpaint_model},
        "MannequinLoadPersonAdapter": {"adapter_name": adapter_file.name},
        "MannequinMoARouter": {"router": router_file.name},
        "MannequinFaceEncoder": {"face_model": face_model.name, "find_face": "whole picture"},
        "MannequinRecurrentPoseAligner": {"aligner": aligner_file.name},
        "MannequinPoseGuidance": {"pose_model": pose_model_file.name},
        "MannequinPoseCheck": {"pose_model": pose_model_file.name},
        "MannequinHandStage": {"hand_model": hand_model_file.name},
        "MannequinHandRepair": {"hand_model": hand_model_file.name},
        "MannequinOutpaintBlender": {"pose_branch": branch_file.name},
    }


@pytest.fixture(scope="session")
def person_model(nodes, model_folder):
    """(model, vae) with random weights."""
    return nodes["MannequinLoadPersonModel"].execute(MODEL).args


def picture(seed, batch=1, h=H, w=W):
    """Smooth random colours [batch, h, w, 3]."""
    small = torch.rand(batch, 3, 6, 5, generator=torch.Generator().manual_seed(seed))
    big = torch.nn.functional.interpolate(small, (h, w), mode="bicubic").clamp(0, 1)
    return big.movedim(1, -1).contiguous()


def dense_pose(shift=0, batch=1, h=H, w=W):
    """A torso and a head [batch, h, w, 3], moved sideways by `shift` pixels."""
    pose = torch.zeros(batch, h, w, 3)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    uv = torch.stack([torch.zeros(h, w), x * 255 // w, y * 255 // h], -1)
    for part, rows, columns in (
        (1, slice(h // 3, h), slice(w // 4, 3 * w // 4)),
        (14, slice(h // 8, h // 3), slice(3 * w // 8, 5 * w // 8)),
    ):
        pose[:, rows, columns] = uv[rows, columns] + torch.tensor([10.0 * part, 0, 0])
    return pose.roll(shift, 2) / 255


def garment_mask(h=H, w=W):
    mask = torch.zeros(1, h, w)
    mask[:, h // 3 : 3 * h // 4, w // 4 : 3 * w // 4] = 1
    return mask


def save(tensor, path):
    pixels = (tensor[0] * 255).round().byte().numpy()
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture(scope="session")
def make():
    """Makers of example tensors."""
    return SimpleNamespace(picture=picture, dense_pose=dense_pose, garment_mask=garment_mask)


@pytest.fixture(scope="session")
def example_files(tmp_path_factory):
    """Paths by the titles of the workflows' loaders."""
    folder = tmp_path_factory.mktemp("inputs")
    hands = torch.zeros(1, H, W)
    hands[:, H // 2 : H // 2 + 8, W // 2 : W // 2 + 8] = 1
    content = {
        "Load reference": picture(1),
        "Load reference dense pose": dense_pose(),
        "Load second reference": picture(2),
        "Load second reference dense pose": dense_pose(3),
        "Load target pose": dense_pose(5),
        "Load person": picture(3),
        "Load person dense pose": dense_pose(-4),
        "Load garment": picture(4),
        "Load garment dense pose": dense_pose(2),
        "Load garment mask": garment_mask(),
        "Load hands mask": hands,
    }
    return {
        title: save(tensor, folder / f"{title.replace(' ', '_')}.png")
        for title, tensor in content.items()
    }


@pytest.fixture
def prompt_of():
    """The API workflow of a name, as a dict to change."""

    def prompt_of(name):
        return json.loads((ROOT / "api" / f"{name}.json").read_text(encoding="utf-8"))

    return prompt_of


@pytest.fixture
def prompt_for(prompt_of, random_files):
    """prompt_for(name): a workflow with random weights."""

    def prompt_for(name):
        prompt = prompt_of(name)
        for node in prompt.values():
            node["inputs"].update(random_files.get(node["class_type"], {}))
        return prompt

    return prompt_for


@pytest.fixture
def run(model_folder, example_files, tmp_path):
    """run(prompt, **{"NODE.input": value}): two steps with random weights and example files."""

    def run(prompt, **settings):
        titles = {node["_meta"]["title"] for node in prompt.values()}
        files = {f"{t}.image": path for t, path in example_files.items() if t in titles}
        model = {"Load person model.model_name": MODEL} if "Load person model" in titles else {}
        given = {**model, "Sample.steps": 2, **files, **settings}
        return run_workflow(prompt, given, tmp_path)

    return run
