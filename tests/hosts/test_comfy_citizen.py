"""What ComfyUI serves of the pack: live previews, translations, help, blueprints, folders."""

import json
import re
import struct
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

connect = pytest.importorskip("websockets.sync.client").connect

ROOT = Path(__file__).resolve().parents[2]
PREVIEW_WITH_METADATA = 4
STEPS = 4


def watch(server, prompt: dict, **extra) -> dict[str, list[Image.Image]]:
    """Runs a prompt as the front end does: the previews it shows, by node, and every text message
    by its type under "messages".
    """
    address = server.url.replace("http", "ws") + "/ws?clientId=watcher"
    previews, messages = defaultdict(list), defaultdict(list)
    with connect(address, max_size=None) as socket:
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        socket.send(json.dumps(flags))
        body = {"prompt": prompt, "client_id": "watcher", "extra_data": extra}
        prompt_id = json.loads(server.post("/prompt", body))["prompt_id"]
        while "execution_success" not in messages:
            message = socket.recv(timeout=120)
            if isinstance(message, str):
                event = json.loads(message)
                assert event["type"] != "execution_error", event["data"]["exception_message"]
                messages[event["type"]].append(event["data"])
            elif struct.unpack(">I", message[:4])[0] == PREVIEW_WITH_METADATA:
                (length,) = struct.unpack(">I", message[4:8])
                about = json.loads(message[8 : 8 + length])
                assert about["prompt_id"] == prompt_id
                picture = Image.open(BytesIO(message[8 + length :]))
                previews[about["display_node_id"]].append(picture.copy())
    previews["messages"] = messages
    return previews


@pytest.fixture(scope="module")
def previewing(start_server):
    with start_server("--preview-method", "latent2rgb") as running:
        yield running


def test_the_flow_appears_on_its_node_while_the_sampler_runs(previewing, every_node):
    seen = watch(previewing, every_node())
    assert len(seen["attention"]) == STEPS
    assert {w / h for w, h in (picture.size for picture in seen["attention"])} == {3 / 4}
    assert len({picture.tobytes() for picture in seen["attention"]}) == STEPS
    assert seen["sampler"], "the sampler's own previews stay"
    states = [event["nodes"] for event in seen["messages"]["progress_state"]]
    done = [nodes["attention"] for nodes in states if "attention" in nodes]
    assert {state["value"] for state in done} >= {float(n) for n in range(1, STEPS + 1)}
    assert done[-1]["state"] == "finished"
    assert {event["node"] for event in seen["messages"]["progress"]} == {"sampler"}


def test_a_second_run_shows_the_flow_again(previewing, every_node):
    prompt = every_node()
    prompt["sampler"]["inputs"]["seed"] += 1  # the attention's node itself is cached
    assert len(watch(previewing, prompt)["attention"]) == STEPS


def test_no_preview_where_comfyui_shows_none(server, every_node):
    seen = watch(server, every_node())
    assert not seen["attention"]
    assert not seen["sampler"]


def test_a_prompt_may_turn_previews_off(previewing, every_node, comfy_version):
    if comfy_version < (0, 8):
        pytest.skip("this ComfyUI has no preview method per prompt")
    prompt = every_node()
    prompt["sampler"]["inputs"]["seed"] += 2
    assert not watch(previewing, prompt, preview_method="none")["attention"]


def test_every_language_reaches_the_front_end(server):
    served = json.loads(server.get("/i18n"))
    for folder in (ROOT / "locales").iterdir():
        for path in folder.glob("*.json"):
            own = json.loads(path.read_text(encoding="utf-8"))
            if path.stem == "main":
                assert all(served[folder.name][key] == texts for key, texts in own.items())
            else:
                assert served[folder.name][path.stem] == own


def test_every_help_page_and_its_pictures_are_served(server):
    ours = [name for name in json.loads(server.get("/object_info")) if name.startswith("Mannequin")]
    assert ours
    for name in ours:
        page = server.get(f"/extensions/mannequin/docs/{name}.md").decode()
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
        assert pictures, name
        for path in pictures:
            Image.open(BytesIO(server.get(f"/extensions/mannequin/docs/{path}"))).verify()


def test_blueprints_are_in_the_node_library(server, comfy_version):
    if comfy_version < (0, 8):
        pytest.skip("this ComfyUI has no blueprints of packs")
    listed = json.loads(server.get("/global_subgraphs"))
    ours = {
        entry["name"]: json.loads(json.loads(server.get(f"/global_subgraphs/{key}"))["data"])
        for key, entry in listed.items()
        if entry["info"]["node_pack"] == "custom_nodes.mannequin"
    }
    files = {path.stem: path for path in (ROOT / "subgraphs").glob("*.json")}
    assert ours == {name: json.loads(path.read_text()) for name, path in files.items()}
    known = json.loads(server.get("/object_info"))
    for blueprint in ours.values():
        (inside,) = blueprint["definitions"]["subgraphs"]
        assert {node["type"] for node in inside["nodes"]} <= known.keys()


def test_models_are_found_where_extra_model_paths_says(
    start_server, every_node, person_file, tmp_path
):
    elsewhere = tmp_path / "disk" / "people"
    elsewhere.mkdir(parents=True)
    (elsewhere / "elsewhere.safetensors").symlink_to(person_file)
    (elsewhere / "notes.txt").write_text("not a model")
    config = tmp_path / "paths.yaml"
    config.write_text(f"disk:\n  base_path: {tmp_path / 'disk'}\n  mannequin: people/\n")
    with start_server("--extra-model-paths-config", str(config)) as server:
        info = json.loads(server.get("/object_info/MannequinLoadPersonModel"))
        kind, given = info["MannequinLoadPersonModel"]["input"]["required"]["model_name"]
        names = kind if isinstance(kind, list) else given["options"]
        assert set(names) == {
            "elsewhere.safetensors",
            "mannequin-tiny.safetensors",
            "random.safetensors",
        }
        prompt = every_node()
        prompt["model"]["inputs"]["model_name"] = "elsewhere.safetensors"
        assert server.paint(prompt)
