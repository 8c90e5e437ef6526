"""Every workflow opens from the template browser, is what its API file says, runs, and shows it."""

import json
import re

import pytest

from mannequin.lab import browser
from mannequin.lab.checkpoint_workflows import CHECKPOINT
from mannequin.lab.layout import TITLE
from mannequin.lab.workflows import WORKFLOWS

NAMES = [make().name for make in WORKFLOWS]
NEEDS_CHECKPOINT = "reference_attention_sd15"
OF_USERS = (NEEDS_CHECKPOINT, "moa_with_controlnet")
FRAME, CLOSE_UP, PAIR, SCENE = [96, 128], [64, 64], [192, 96], [128, 64]
SAVED = {
    "inpaint_with_words": CLOSE_UP,
    "face_edit": CLOSE_UP,
    "face_inpaint": PAIR,
    "personalize_face": PAIR,
    "two_people_one_scene": SCENE,
    "subject_morph": SCENE,
    "swap_subject": SCENE,
    "hand_repair": [288, 384],
}


@pytest.mark.slow
def test_the_template_browser_lists_every_workflow_with_its_thumbnail(editor):
    assert sorted(editor.templates()) == sorted(NAMES)
    for name in NAMES:
        card = editor.page.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # it gets its picture when it is seen
        picture = card.locator("img").first
        editor.page.wait_for_function(
            "i => i.complete && i.naturalWidth", arg=picture.element_handle()
        )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "try_on" else pytest.mark.slow) for n in NAMES]
)
def test_a_workflow_opens_and_is_what_its_files_say(editor, shipped, name):
    editor.open_template(name)
    assert editor.unknown() == []
    assert editor.prompt() == shipped(name, "api")
    assert_as_drawn(editor, shipped(name))


def assert_as_drawn(editor, graph):
    """Every node has the place and the size that the file gives it."""
    drawn = editor.boxes()
    for node in graph["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        assert drawn[node["title"]] == pytest.approx([x, y - TITLE, x + width, y + height], abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_USERS])
def test_a_workflow_runs_and_shows_its_pictures(editor, shipped, name):
    editor.open_template(name)
    history = editor.run()
    assert history["status"]["status_str"] == "success", history["status"]["messages"][-1]
    nodes = shipped(name, "api").values()
    saves = [n["_meta"]["title"] for n in nodes if n["class_type"] == "SaveImage"]
    assert saves
    for title in saves:
        pictures = 9 if name == "pose_sheet" else 1
        assert editor.shown(title) == [SAVED.get(name, FRAME)] * pictures
    if "MannequinFlowPreview" in {node["class_type"] for node in nodes}:
        assert len(editor.shown("Flow preview")) == 1
    assert editor.unknown() == []
    assert_as_drawn(editor, shipped(name))  # the pictures found room


@pytest.mark.slow
def test_the_checkpoints_workflow_is_accepted_up_to_the_file_that_is_missing(editor):
    editor.open_template(NEEDS_CHECKPOINT)
    history = editor.run()
    kind, message = history["status"]["messages"][-1]
    assert kind == "execution_error"
    assert message["node_type"] == "CheckpointLoaderSimple"


@pytest.mark.slow
def test_the_flow_is_previewed_on_its_node_while_sampling(editor):
    editor.open_template("pose_transfer")
    editor.js("() => { window.seen = []; app.api.addEventListener('b_preview_with_metadata',"
              " e => window.seen.push(e.detail.displayNodeId)) }")  # fmt: skip
    editor.run()
    titles = editor.js("() => window.seen.map(id => app.graph.getNodeById(id).title)")
    assert {"Flow-guided attention", "Sample"} <= set(titles)


@pytest.mark.slow
def test_a_missing_checkpoint_is_offered_for_download(address, shipped):
    text = json.dumps(shipped(NEEDS_CHECKPOINT)).replace(CHECKPOINT["name"], "absent.safetensors")
    with browser.editor(address) as editor:  # asks the file's site for its size, maybe in vain
        editor.js("graph => app.loadGraphData(graph)", json.loads(text))
        editor.page.get_by_text("See Errors").first.click()
        panel = editor.page.get_by_test_id("properties-panel").first
        panel.get_by_text("absent.safetensors").first.wait_for()
        panel.get_by_text(re.compile(r"^\s*Download\b(?! all)")).first.wait_for()
