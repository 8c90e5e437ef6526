"""What an artist reads on the nodes, and what shared workflows rely on."""

import re
from types import SimpleNamespace

import pytest

from mannequin.lab.workflows import ROOT

NODES = {
    "MannequinLoadPersonModel": ("model vae", ["model_name"]),
    "MannequinReferenceEncoder": ("reference", ["model", "vae", "image", "dense_pose", "more"]),
    "MannequinPersonConditioning": (
        "positive negative latent repainted",
        ["model", "vae", "dense_pose", "person", "garment_mask", "hand_protect_mask"],
    ),
    "MannequinFlowGuidedAttention": (
        "model flow",
        [
            "model",
            "reference",
            "strength",
            "start_percent",
            "end_percent",
            "record_flow",
            "reference_run",
        ],
    ),
    "MannequinFlowPreview": ("image", ["flow", "image", "reference", "mode"]),
    "MannequinFlowDetailTransfer": (
        "image mask",
        ["image", "flow", "reference", "strength", "threshold", "mask"],
    ),
    "MannequinDiffusersScheduler": ("sigmas", ["model", "steps", "denoise"]),
    "MannequinGuidanceRescale": ("model", ["model", "strength"]),
    "MannequinAttentionBackend": ("report", ["model"]),
    "MannequinFaceEncoder": (
        "faces crops report",
        ["image", "face_model", "find_face", "clip_vision", "more"],
    ),
    "MannequinMaskCrop": ("image mask crop", ["image", "mask", "size", "padding"]),
    "MannequinHandPose": (
        "hands pose_maps crops drawing",
        [
            "width",
            "height",
            "size",
            "padding",
            "confidence",
            "keypoints",
            "keypoint_json",
            "image",
        ],
    ),
    "MannequinHandStage": (
        "images masks latents",
        ["hands", "hand_model", "seed", "steps", "guidance", "skin", "vae"],
    ),
    "MannequinOutpaintBlender": (
        "model image mask filmstrip",
        [
            "model",
            "hands",
            "images",
            "masks",
            "grow",
            "curve",
            "stop_percent",
            "border",
            "canvas",
            "pose_branch",
            "pose_strength",
        ],
    ),
    "MannequinHandRepair": (
        "image mask close_ups",
        [
            "image",
            "hands",
            "hand_model",
            "seed",
            "steps",
            "guidance",
            "reach",
            "feather",
            "mask",
        ],
    ),
    "MannequinPasteCrop": ("image", ["crop", "painted", "feather"]),
    "MannequinLoadInpaintModel": ("model clip vae", ["model_name"]),
    "MannequinLoadPersonAdapter": ("adapter about", ["adapter_name"]),
    "MannequinParallelVisualAttention": (
        "model clip",
        [
            "model",
            "adapter",
            "strength",
            "start_percent",
            "end_percent",
            "layers",
            "in_negative",
            "faces",
            "clip",
        ],
    ),
    "MannequinPersonalizeFace": (
        "adapter",
        ["model", "clip", "vae", "adapter", "faces", "steps", "learning_rate", "seed"],
    ),
    "MannequinSavePersonAdapter": ("adapter_name", ["adapter", "name", "consent", "note"]),
    "MannequinSubject": ("subjects", ["word", "faces", "morph", "mask", "morph_into", "others"]),
    "MannequinMoARouter": (
        "model positive routes",
        [
            "model",
            "clip",
            "subjects",
            "prompt",
            "router",
            "strength",
            "start_percent",
            "end_percent",
            "layers",
            "temperature",
            "record_routes",
            "adapter",
        ],
    ),
    "MannequinRoutePreview": ("image mask", ["routes", "image", "mode", "subject"]),
    "MannequinPoseKeypoints": ("keypoints drawing", ["keypoint_json", "width", "height"]),
    "MannequinRecurrentPoseAligner": (
        "model alignment flow",
        [
            "model",
            "reference",
            "positive",
            "aligner",
            "iterations",
            "strength",
            "start_percent",
            "end_percent",
            "reference_run",
            "record_flow",
        ],
    ),
    "MannequinAlignmentPreview": ("image", ["alignment", "image", "reference"]),
    "MannequinPoseGuidance": (
        "model guidance",
        [
            "model",
            "pose_model",
            "target",
            "person",
            "scale",
            "field_weight",
            "keypoint_weight",
            "start_percent",
            "end_percent",
        ],
    ),
    "MannequinGuidancePreview": ("image report", ["guidance", "image"]),
    "MannequinPoseCheck": (
        "overlay pck error table",
        [
            "image",
            "target",
            "person",
            "threshold",
            "confidence",
            "measured",
            "pose_model",
            "vae",
        ],
    ),
}
OPTIONAL = {
    "MannequinHandPose": {"keypoints", "keypoint_json", "image"},
    "MannequinHandStage": {"vae"},
    "MannequinOutpaintBlender": {"canvas", "pose_branch", "pose_strength"},
    "MannequinHandRepair": {"mask"},
    "MannequinFaceEncoder": {"clip_vision", "more"},
    "MannequinParallelVisualAttention": {"faces", "clip"},
    "MannequinReferenceEncoder": {"dense_pose", "more"},
    "MannequinPersonConditioning": {"person", "garment_mask", "hand_protect_mask"},
    "MannequinFlowGuidedAttention": {"reference_run"},
    "MannequinFlowDetailTransfer": {"mask"},
    "MannequinAttentionBackend": {"model"},
    "MannequinSubject": {"mask", "morph_into", "others"},
    "MannequinMoARouter": {"adapter"},
    "MannequinPoseCheck": {"measured", "pose_model", "vae"},
}
DOCS = ROOT.parent / "web" / "docs"


@pytest.fixture(scope="module")
def schemas(nodes):
    ours = {name: node for name, node in nodes.items() if name.startswith("Mannequin")}
    return {name: node.GET_SCHEMA() for name, node in ours.items()}


def test_ids_inputs_and_outputs_are_frozen(schemas):
    """Workflows that people have shared name these: never change, only add at the end."""
    found = {
        name: (" ".join(o.display_name for o in s.outputs), [i.id for i in s.inputs])
        for name, s in schemas.items()
    }
    assert found == NODES


def test_only_what_may_be_left_out_is_optional(schemas):
    for name, schema in schemas.items():
        assert {i.id for i in schema.inputs if i.optional} == OPTIONAL.get(name, set()), name


@pytest.mark.parametrize("name", NODES)
def test_every_node_and_input_is_explained(schemas, name):
    schema = schemas[name]
    assert schema.category.startswith("Mannequin")
    assert len(schema.description) > 60
    assert schema.display_name and not schema.display_name.startswith("Mannequin")
    assert schema.search_aliases
    for spec in schema.inputs:
        assert len(spec.tooltip or "") > 15, f"{name}.{spec.id}"


@pytest.mark.parametrize("name", NODES)
def test_the_help_page_tells_everything(schemas, name):
    schema = schemas[name]
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == [i.id for i in schema.inputs] + [o.display_name for o in schema.outputs]
    for spec in schema.inputs:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{spec.id}` |"))
        for bound in (getattr(spec, "min", None), getattr(spec, "max", None)):
            assert bound is None or re.search(rf"\b{re.escape(f'{bound:g}')}\b", row), row
    assert re.search(r"arXiv \d{4}\.\d{5}", page) or "our design" in page.lower()
    assert "## When it fails" in page


def test_no_page_without_a_node():
    assert {path.stem for path in DOCS.glob("*.md")} == set(NODES)


def test_an_old_comfyui_is_not_given_what_it_does_not_know(nodes):
    from mannequin.nodes.schema import build

    def old(node_id, *, tooltip=None):
        return SimpleNamespace(node_id=node_id, tooltip=tooltip)

    def new(node_id, *, tooltip=None, advanced=None, search_aliases=None):
        return SimpleNamespace(node_id=node_id, advanced=advanced, aliases=search_aliases)

    given = {"tooltip": "t", "advanced": True, "search_aliases": ["a"]}
    assert build(old, "id", **given).tooltip == "t"
    assert build(new, "id", **given).advanced is True
    assert build(new, "id", **given).aliases == ["a"]
    with pytest.raises(TypeError, match="tooltop"):
        build(old, "id", tooltop="a misspelt option is not dropped")


def test_models_are_listed_from_both_folders(nodes, model_folder, schemas):
    from mannequin.headless import folders

    paths = folders.get_folder_paths("mannequin")
    assert str(ROOT.parent / "weights") in paths
    assert any(path.endswith("models/mannequin") for path in paths)
    assert folders.folder_names_and_paths["mannequin"][1] == {".safetensors", ".pth"}
    options = nodes["MannequinLoadPersonModel"].GET_SCHEMA().inputs[0].options
    assert "random.safetensors" in options
    assert not [name for name in options if name.endswith(".md")]
