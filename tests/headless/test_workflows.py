"""The shipped workflows, end to end on random weights, with the pictures that people bring."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mannequin.headless import NodeError, WorkflowError, run_workflow
from mannequin.headless.engine import Engine
from mannequin.headless.registry import registry
from mannequin.headless.workflow import load_workflow
from mannequin.lab.training import models

API = Path(__file__).resolve().parents[2] / "workflows" / "api"
NAMES = ["pose_transfer", "try_on", "two_references"]
POSES = ["pose_transfer_aligned", "pose_guidance", "pose_sheet"]
FACES = ["inpaint_with_words", "face_inpaint", "face_edit", "personalize_face"]
PEOPLE = ["two_people_one_scene", "subject_morph", "swap_subject"]
HANDS = ["hands_then_body", "hand_repair", "try_on_hands"]
OF_USERS = ["reference_attention_sd15", "moa_with_controlnet"]
PUBLISHED = {"leffa_pose_transfer": ("sdxl", 64), "leffa_try_on": ("sd15", 32)}


@pytest.fixture
def model_folder(tmp_path):
    """A folder that Load Person Model looks into, for one test."""
    registry()
    import folder_paths

    folder_paths.add_model_folder_path("mannequin", str(tmp_path))
    yield tmp_path
    folder_paths.folder_names_and_paths["mannequin"][0].remove(str(tmp_path))


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    return models.build(3, tmp_path_factory.mktemp("models") / "random.safetensors")


@pytest.fixture(scope="module")
def engine():
    return Engine(registry())


@pytest.fixture
def run(engine, random_model, model_folder, tmp_path):
    """Runs a workflow for one step on random weights."""
    (model_folder / random_model.name).symlink_to(random_model)
    quick = {"Load person model.model_name": random_model.name, "Sample.steps": 1}

    def start(name, settings=None):
        given = {**quick, **(settings or {})}
        return run_workflow(API / f"{name}.json", given, tmp_path / "out", engine=engine)

    return start


def test_the_workflows_are_those_of_the_readme():
    shipped = {path.stem for path in API.glob("*.json")}
    assert shipped == {*NAMES, *POSES, *FACES, *PEOPLE, *HANDS, *PUBLISHED, *OF_USERS}


@pytest.mark.parametrize("name", PUBLISHED)
def test_workflows_of_published_models_run_on_files_of_their_shape(
    name, engine, model_folder, tmp_path
):
    family, width = PUBLISHED[name]
    models.build_published(3, model_folder / "published.safetensors", family, width)
    settings = {"Load person model.model_name": "published.safetensors", "Noise levels.steps": 2}
    result = run_workflow(API / f"{name}.json", settings, tmp_path / "out", engine=engine)
    assert [path.name for path in result.images] == [f"{name}_00001_.png"]
    assert Image.open(result.images[0]).size == (96, 128)
    assert len(result.previews) == 1


@pytest.mark.parametrize("name", OF_USERS)
def test_a_workflow_for_plain_checkpoints_is_left_to_comfyui(name, engine, tmp_path):
    with pytest.raises(WorkflowError, match="CheckpointLoaderSimple"):
        run_workflow(API / f"{name}.json", {}, tmp_path / "out", engine=engine)


@pytest.mark.parametrize("name", NAMES)
def test_every_workflow_gives_pictures_of_the_models_size(run, name):
    result = run(name)
    assert [path.name for path in result.images] == [
        f"{name}_00001_.png",
        f"{name}_detail_00001_.png",
    ]
    assert {Image.open(path).size for path in result.images} == {(96, 128)}
    assert len(result.previews) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_carries_prompt_and_graph(run, name):
    carried = load_workflow(run(name).images[0])
    assert {node["class_type"] for node in carried.prompt.values()} >= {"KSampler", "SaveImage"}
    drawn = {str(node["id"]): node["type"] for node in carried.graph["nodes"]}
    assert "MarkdownNote" in drawn.values()
    drawn = {key: kind for key, kind in drawn.items() if kind != "MarkdownNote"}
    assert drawn == {key: node["class_type"] for key, node in carried.prompt.items()}


def test_try_on_leaves_everything_outside_the_garment_untouched(run):
    result = run("try_on")
    inputs = API.parent / "inputs"
    before = np.asarray(Image.open(inputs / "person_b.png").convert("RGB"))
    mask = np.asarray(Image.open(inputs / "person_b_garment_mask.png").convert("L"))
    for path in result.images:
        after = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(after[mask == 0], before[mask == 0])
        assert not np.array_equal(after[mask == 255], before[mask == 255])


def test_a_seed_fixes_the_result(run):
    pixels = [
        np.asarray(Image.open(run("pose_transfer", {"Sample.seed": seed}).images[0]))
        for seed in (1, 2, 1)
    ]
    assert np.array_equal(pixels[0], pixels[2])
    assert not np.array_equal(pixels[0], pixels[1])


def portrait(mode, tmp_path, **options):
    """A picture as somebody may bring it: 60 x 80 noise in some mode."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 60, 4), dtype=np.uint8)
    array = {
        "RGBA": noise,
        "L": noise[..., 0],
        "I;16": noise[..., 0].astype(np.uint16) * 257,
        "RGB": noise[..., :3],
    }[mode]
    path = tmp_path / f"me.{options.pop('suffix', 'png')}"
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGBA", "L", "I;16"])
def test_pictures_of_every_kind_go_through(run, tmp_path, mode):
    result = run("pose_transfer", {"Load reference.image": portrait(mode, tmp_path)})
    assert Image.open(result.images[0]).size == (96, 128)


def test_a_photo_from_a_turned_phone_goes_through(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = portrait("RGB", tmp_path, suffix="jpg", exif=exif.tobytes())
    result = run("pose_transfer", {"Load reference.image": photo})
    reference = next(
        outputs[0]
        for outputs in result.outputs.values()
        if outputs and torch.is_tensor(outputs[0]) and outputs[0].shape[1:] == (60, 80, 3)
    )
    assert reference.shape == (1, 60, 80, 3)


@pytest.mark.parametrize("size", [(1, 1), (8000, 6000)])
def test_tiny_and_huge_references_go_through(run, tmp_path, size):
    path = tmp_path / "me.png"
    Image.new("RGB", size, (200, 150, 100)).save(path, compress_level=1)
    result = run("pose_transfer", {"Load reference.image": path})
    assert Image.open(result.images[0]).size == (96, 128)


@pytest.mark.parametrize(
    ("size", "says"),
    [((1, 1), "at least 4x4 pixels; got 1x1"), ((8000, 6000), "at most 1024x1024 .* 8000x6000")],
)
def test_a_person_too_small_or_too_large_is_named_at_once(run, tmp_path, size, says):
    path = tmp_path / "me.png"
    Image.new("RGB", size, (200, 150, 100)).save(path, compress_level=1)
    with pytest.raises(NodeError, match=f'"Person conditioning" .*{says}'):
        run("try_on", {"Load person.image": path})


def test_a_photo_is_no_dense_pose(run):
    with pytest.raises(NodeError, match=r"dense pose") as caught:
        run("pose_transfer", {"Load target pose.image": "person_a.png"})
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.node.title == "Person conditioning"


def test_an_empty_model_file_says_so(run, model_folder):
    (model_folder / "empty.safetensors").touch()
    with pytest.raises(NodeError, match=r"Load person model.*is empty \(0 bytes\)"):
        run("pose_transfer", {"Load person model.model_name": "empty.safetensors"})


def test_all_problems_of_a_real_workflow_come_together(run):
    wrong = {"Load person.image": "nobody.png", "Sample.cfg": -1, "Sample.sampler_name": "dpm"}
    with pytest.raises(WorkflowError) as caught:
        run("try_on", wrong)
    assert len(caught.value.problems) == 3
    assert 'node 1 "Load person" (LoadImage)' in str(caught.value)
