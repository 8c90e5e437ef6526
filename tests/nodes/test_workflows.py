"""The shipped workflows: what they are made from, and that both their forms say the same."""

import json
import re
from dataclasses import replace

import pytest

from mannequin.headless.validate import check
from mannequin.lab.graph import NOTE_KIND, Lane, api, graph
from mannequin.lab.kinds import KINDS, WIDGETS
from mannequin.lab.layout import TITLE
from mannequin.lab.workflows import ROOT, WORKFLOWS, write

TINY = ("pose_transfer", "try_on", "two_references")
POSES = {
    "pose_transfer_aligned": {"Recurrent pose aligner", "Alignment preview"},
    "pose_guidance": {"Pose guidance", "Guidance preview", "Pose check"},
    "pose_sheet": {"Recurrent pose aligner", "Pose guidance", "Pose check"},
}
PUBLISHED = ("leffa_pose_transfer", "leffa_try_on")
FACES = ("inpaint_with_words", "face_inpaint", "face_edit", "personalize_face")
PEOPLE = ("two_people_one_scene", "subject_morph", "swap_subject")
HANDS = ("hands_then_body", "hand_repair", "try_on_hands")
OF_USERS = ("reference_attention_sd15", "moa_with_controlnet")  # checkpoints: in ComfyUI alone
ENGINE = (*TINY, *PUBLISHED, *POSES, *FACES, *PEOPLE, *HANDS)
LOOKING = (*TINY, *PUBLISHED, "reference_attention_sd15")  # by Flow-Guided Attention
SHIPPED = (*ENGINE, *OF_USERS)
FILES = {
    "Load person model": ("model_name", r"(mannequin-tiny|leffa_\w+)\.safetensors"),
    "Load inpaint model": ("model_name", r"mannequin-tiny-inpaint\.safetensors"),
    "Load person adapter": ("adapter_name", r"mannequin-tiny-pva\.safetensors"),
    "Encode reference": ("face_model", r"mannequin-tiny-face\.safetensors"),
    "Encode second reference": ("face_model", r"mannequin-tiny-face\.safetensors"),
    "Encode first person": ("face_model", r"mannequin-tiny-face\.safetensors"),
    "Encode second person": ("face_model", r"mannequin-tiny-face\.safetensors"),
    "MoA router": ("router", r"mannequin-tiny-moa\.safetensors"),
    "Recurrent pose aligner": ("aligner", r"mannequin-tiny-aligner\.safetensors"),
    "Pose guidance": ("pose_model", r"mannequin-tiny-pose\.safetensors"),
    "Pose check": ("pose_model", r"mannequin-tiny-pose\.safetensors"),
    "Hand stage": ("hand_model", r"mannequin-tiny-hands\.safetensors"),
    "Hand repair": ("hand_model", r"mannequin-tiny-hands\.safetensors"),
    "Outpaint blender": ("pose_branch", r"mannequin-tiny-pose-branch\.safetensors|none"),
}

DOWNLOADS = {
    "CheckpointLoaderSimple": "checkpoints",
    "MannequinLoadPersonAdapter": "mannequin_adapters",
    "CLIPVisionLoader": "clip_vision",
    "ControlNetLoader": "controlnet",
}


@pytest.fixture(params=SHIPPED)
def name(request):
    return request.param


def canvas(name):
    """The workflow on the canvas."""
    return json.loads((ROOT / f"{name}.json").read_text(encoding="utf-8"))


def converted(graph):
    """API format of a graph, as the front end's own conversion does it."""
    links = {link[0]: link for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] == NOTE_KIND:
            continue
        values = iter(node["widgets_values"])
        inputs = {}
        for spec in node["inputs"]:
            if "widget" in spec:
                inputs[spec["name"]] = next(values)
                if spec["name"] in KINDS[node["type"]].extra:
                    next(values)  # "control after generate", "upload": not part of the API
            elif spec["link"] is not None:
                _, source, slot, target, _, _ = links[spec["link"]]
                assert target == node["id"]
                inputs[spec["name"]] = [str(source), slot]
        assert next(values, None) is None
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": node["title"]},
        }
    return prompt


def test_the_files_are_what_the_description_gives(tmp_path):
    write(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.json"))
    assert {path.stem for path in made} == set(SHIPPED)
    for path in made:
        assert (ROOT / path).read_bytes() == (tmp_path / path).read_bytes(), (
            f"{path}: run `python -m mannequin.lab.workflows`"
        )


def test_canvas_and_api_are_the_same_workflow(name, prompt_of):
    assert converted(canvas(name)) == prompt_of(name)


def test_the_description_knows_the_nodes_as_they_are(nodes):
    ours = {class_type for class_type in nodes if class_type.startswith("Mannequin")}
    assert {class_type for class_type in KINDS if class_type.startswith("Mannequin")} <= ours
    for class_type in KINDS.keys() & nodes.keys():
        kind = KINDS[class_type]
        schema = nodes[class_type].GET_SCHEMA()
        assert {i.id: i.io_type for i in schema.inputs} == kind.inputs, class_type
        assert [o.io_type for o in schema.outputs] == list(kind.outputs.values()), class_type
        if class_type.startswith("Mannequin"):
            assert [o.display_name for o in schema.outputs] == list(kind.outputs)


def test_the_canvas_is_wired_both_ways(name):
    graph = canvas(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert graph["last_node_id"] == max(nodes)
    assert graph["last_link_id"] == len(graph["links"])
    for number, source, out, target, slot, kind in graph["links"]:
        assert nodes[source]["outputs"][out]["type"] == kind
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][slot]["type"] == kind
        assert nodes[target]["inputs"][slot]["link"] == number
    for node in nodes.values():
        for spec in node["inputs"]:
            assert ("widget" in spec) == (spec["type"] in WIDGETS)


def test_the_canvas_is_tidy(name):
    graph = canvas(name)
    boxes = [
        (x, y - TITLE, w, h + TITLE)
        for (x, y), (w, h) in ((node["pos"], node["size"]) for node in graph["nodes"])
    ]
    groups = [group["bounding"] for group in graph["groups"]]
    for several in (boxes, groups):
        for i, (x, y, w, h) in enumerate(several):
            for u, v, width, height in several[:i]:
                assert x >= u + width or u >= x + w or y >= v + height or v >= y + h
    for x, y, w, h in boxes:
        assert any(
            gx <= x and gy + 30 <= y and x + w <= gx + gw and y + h <= gy + gh
            for gx, gy, gw, gh in groups
        )


def test_wires_run_from_left_to_right(name):
    graph = canvas(name)
    x = {node["id"]: node["pos"][0] for node in graph["nodes"]}
    assert all(x[source] < x[target] for _, source, _, target, _, _ in graph["links"])


def test_titles_are_unique_so_that_they_can_be_set(name, prompt_of):
    titles = [node["_meta"]["title"] for node in prompt_of(name).values()]
    assert len(titles) == len(set(titles))
    assert "Sample" in titles or name == "hand_repair"  # which has its own model
    if name in LOOKING:
        assert {"Flow-guided attention", "Flow preview"} <= set(titles)
    if name in POSES:
        assert POSES[name] <= set(titles)
    if name in TINY:
        loads = "Load garment" if name == "try_on" else "Load reference"
        assert {loads, "Load person model", "Flow detail transfer"} <= set(titles)


@pytest.mark.parametrize("name", ENGINE)
def test_every_workflow_passes_the_check(name, prompt_of, nodes, random_files):
    prompt = prompt_of(name)
    for node in prompt.values():
        title, inputs = node["_meta"]["title"], node["inputs"]
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            people = r"(person|garment|portrait)_[abc]|pair_ab|scene_(ab|empty|mask_all)"
            shipped = rf"({people})\w*\.png|no_dense_pose\.png"
            assert re.fullmatch(shipped, inputs["image"])
            assert (ROOT / "inputs" / inputs["image"]).is_file()
        if node["class_type"] in random_files:
            file, named = FILES[title]
            assert re.fullmatch(named, inputs[file])
            inputs.update(random_files[node["class_type"]])
    _, problems = check(prompt, nodes)
    assert problems == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_sampled_as_published(name, prompt_of):
    nodes = {node["_meta"]["title"]: node["inputs"] for node in prompt_of(name).values()}
    assert nodes["Sample"]["cfg"] == 2.5
    assert nodes["Noise levels"]["steps"] == 30
    assert nodes["Noise levels"]["denoise"] == 1
    assert nodes["Choose sampler"]["sampler_name"] == "ddpm"
    assert nodes["Guidance rescale"]["strength"] == 1


def test_only_safetensors_are_offered_for_download(name):
    offered = [
        (node["type"], model, node["widgets_values"])
        for node in canvas(name)["nodes"]
        for model in node["properties"].get("models", ())
    ]
    assert bool(offered) == (name in OF_USERS)
    for class_type, model, values in offered:
        assert model["directory"] == DOWNLOADS[class_type]
        assert values == [model["name"]]
        assert model["url"].endswith("/" + model["name"])
        assert model["name"].endswith(".safetensors")


def test_a_note_says_what_to_do(name):
    (note,) = [node for node in canvas(name)["nodes"] if node["type"] == NOTE_KIND]
    (text,) = note["widgets_values"]
    titles = {node["title"] for node in canvas(name)["nodes"]}
    named = {title for title in titles if title.startswith("Load") and title in text}
    assert named or "Your pictures" in text
    for loader in re.findall(r"\*\*(Load [\w ]+)\*\*", text):
        assert loader in titles


@pytest.mark.parametrize("name", SHIPPED)
def test_a_picture_of_the_graph_is_in_the_documents(name):
    folder = ROOT.parent / "docs" / "graphs"
    assert (folder / f"{name}.jpg").stat().st_size < 250_000
    assert f"({name}.jpg)" in (folder / "README.md").read_text(encoding="utf-8")


def test_lanes_lead_their_wires_from_left_to_right(name):
    drawn = canvas(name)
    points = {point["id"]: point for point in drawn["extra"]["reroutes"]}
    nodes = {node["id"]: node for node in drawn["nodes"]}
    links = {link[0]: link for link in drawn["links"]}
    assert drawn["extra"]["linkExtensions"]
    for end in drawn["extra"]["linkExtensions"]:
        _, source, _, target, _, _ = links[end["id"]]
        x, way = nodes[target]["pos"][0], points[end["parentId"]]
        while way is not None:
            assert end["id"] in way["linkIds"]
            assert way["pos"][0] < x
            x, way = way["pos"][0], points.get(way.get("parentId"))
        assert x >= nodes[source]["pos"][0] + nodes[source]["size"][0]


def test_no_lane_runs_behind_a_node(name):
    drawn = canvas(name)
    points = {point["id"]: point for point in drawn["extra"]["reroutes"]}
    for point in points.values():
        before = points.get(point.get("parentId"))
        if before is None:
            continue
        y = point["pos"][1]
        assert before["pos"][1] == y
        for node in drawn["nodes"]:
            (left, top), (width, height) = node["pos"], node["size"]
            beside = left + width < before["pos"][0] or left > point["pos"][0]
            assert beside or not top - TITLE < y < top + height, (node["title"], y)


def test_a_description_with_a_misspelt_wire_is_refused():
    workflow = WORKFLOWS[0]()
    workflow.columns[-1]["Results"][1].inputs["images"] = ("Decode", "PICTURE")
    for form in (api, graph):
        with pytest.raises(ValueError, match="PICTURE"):
            form(workflow)


def test_a_lane_without_a_wire_is_refused():
    workflow = replace(WORKFLOWS[0](), lanes=(Lane(("Decode", "IMAGE"), 0, ("Sample",)),))
    with pytest.raises(ValueError, match=r'a wire from .*Decode.* to "Sample"'):
        graph(workflow)
