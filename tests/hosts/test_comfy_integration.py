"""The pack on a real ComfyUI server: it loads, lists its nodes, and paints what we paint."""

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NODE_IDS = {
    "MannequinFlowDetailTransfer",
    "MannequinFlowGuidedAttention",
    "MannequinFlowPreview",
    "MannequinLoadPersonModel",
    "MannequinPersonConditioning",
    "MannequinReferenceEncoder",
}
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
SHIPPED = ROOT / "weights" / "mannequin-tiny.safetensors"
WORKFLOWS = [
    pytest.param(path, id=path.stem, marks=[] if path.stem == "pose_transfer" else pytest.mark.slow)
    for path in sorted((ROOT / "workflows" / "api").glob("*.json"))
]


class Server:
    """A ComfyUI server on this machine, and the folder that it lives in."""

    def __init__(self, port: int, folder: Path):
        self.url, self.folder = f"http://127.0.0.1:{port}", folder

    def get(self, path: str, timeout: float = 30) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:
            return answer.read()

    def queue(self, prompt: dict) -> str:
        request = urllib.request.Request(
            f"{self.url}/prompt",
            json.dumps({"prompt": prompt}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["prompt_id"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"ComfyUI refused the workflow: {error.read().decode()}")

    def run(self, prompt: dict, seconds: float = 180) -> dict:
        """The history entry of a prompt, run to its end."""
        prompt_id = self.queue(prompt)
        for _ in range(int(seconds * 4)):
            history = json.loads(self.get(f"/history/{prompt_id}"))
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.25)
        pytest.fail(f"the workflow was not done after {seconds} s")

    def picture(self, entry: dict) -> np.ndarray:
        png = self.get(f"/view?{urllib.parse.urlencode(entry)}")
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int16)


@pytest.fixture(scope="module")
def server(comfyui, comfy_python, person_file, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "mannequin").symlink_to(ROOT)
    (base / "models" / "mannequin").mkdir(parents=True)
    (base / "models" / "mannequin" / "random.safetensors").symlink_to(person_file)
    (base / "input").mkdir()
    for picture in (ROOT / "workflows" / "inputs").glob("*"):
        (base / "input" / picture.name).symlink_to(picture)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [comfy_python, comfyui / "main.py", "--base-directory", base, "--port", str(port)]
    command += ["--cpu", "--use-pytorch-cross-attention", "--listen", "127.0.0.1"]
    command += ["--disable-api-nodes", "--disable-auto-launch"]
    command += ["--database-url", "sqlite:///:memory:"]
    log = base / "server.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            command, cwd=base, env=ONE_THREAD, stdout=lines, stderr=subprocess.STDOUT
        )
        try:
            yield _ready(process, Server(port, base), log)
        finally:
            process.terminate()
            process.wait(30)


def _ready(process: subprocess.Popen, server: Server, log: Path) -> Server:
    for _ in range(360):
        if process.poll() is not None:
            pytest.fail(f"ComfyUI did not start:\n{log.read_text()[-3000:]}")
        try:
            server.get("/system_stats", timeout=2)
            return server
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.25)
    pytest.fail(f"ComfyUI was not ready in time:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder with random pictures and dense poses."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("source", "source_pose", "target_pose"):
        pixels = rng.integers(0, 256, (128, 96, 3), dtype=np.uint8)
        if name.endswith("pose"):
            body = np.zeros((128, 96, 1), dtype=bool)
            body[24:104, 24:72] = True
            pixels[..., 0] = 10
            pixels = pixels * body
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"random_{name}.png")
    return folder


@pytest.fixture
def embedded_folder(person_file, tmp_path) -> Path:
    """A working folder of the command line, with the random weights among its models."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mannequin").symlink_to(person_file.parent)
    return tmp_path


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def every_node(folder: str = "") -> dict:
    """A workflow of all six nodes on the random pictures, which lie in `folder`."""
    model, vae = ["model", 0], ["model", 1]
    sampled = {"image": ["decoded", 0], "flow": ["attention", 1], "reference": ["reference", 0]}
    return {
        "model": node("MannequinLoadPersonModel", model_name="random.safetensors"),
        "source": node("LoadImage", image=f"{folder}random_source.png"),
        "source_pose": node("LoadImage", image=f"{folder}random_source_pose.png"),
        "target_pose": node("LoadImage", image=f"{folder}random_target_pose.png"),
        "reference": node(
            "MannequinReferenceEncoder",
            model=model,
            vae=vae,
            image=["source", 0],
            dense_pose=["source_pose", 0],
        ),
        "conditioning": node(
            "MannequinPersonConditioning", model=model, vae=vae, dense_pose=["target_pose", 0]
        ),
        "attention": node(
            "MannequinFlowGuidedAttention",
            model=model,
            reference=["reference", 0],
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
            record_flow=True,
        ),
        "sampler": node(
            "KSampler",
            model=["attention", 0],
            positive=["conditioning", 0],
            negative=["conditioning", 1],
            latent_image=["conditioning", 2],
            seed=5,
            steps=4,
            cfg=2.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "decoded": node("VAEDecode", samples=["sampler", 0], vae=vae),
        "detail": node("MannequinFlowDetailTransfer", **sampled, strength=1.0, threshold=0.0),
        "preview": node("MannequinFlowPreview", **sampled, mode="warped reference"),
        "saved_preview": node("SaveImage", images=["preview", 0], filename_prefix="preview"),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="plain"),
        "saved_detail": node("SaveImage", images=["detail", 0], filename_prefix="detail"),
    }


def on_embedded_engine(prompt: dict, folder: Path) -> dict[str, np.ndarray]:
    """The pictures that `mannequin run` saves, by file name; models come from folder/models."""
    (folder / "workflow.json").write_text(json.dumps(prompt))
    done = subprocess.run(
        [sys.executable, "-m", "mannequin", "run", "workflow.json", "-o", "out"],
        cwd=folder,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {
        path.name: np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)
        for path in (folder / "out").glob("*.png")
    }


def on_server(server: Server, prompt: dict) -> dict[str, np.ndarray]:
    history = server.run(prompt)
    assert history["status"]["status_str"] == "success", history["status"]["messages"][-1]
    saved = [e for o in history["outputs"].values() for e in o["images"] if e["type"] == "output"]
    return {entry["filename"]: server.picture(entry) for entry in saved}


def assert_same_pictures(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> None:
    assert theirs
    assert theirs.keys() == ours.keys()
    for name, picture in theirs.items():
        assert abs(picture - ours[name]).max() <= 2, name


def test_server_loads_the_pack_and_lists_its_nodes(server):
    listed = json.loads(server.get("/object_info"))
    assert {name for name in listed if name.startswith("Mannequin")} == NODE_IDS
    log = (server.folder / "server.log").read_text()
    assert "IMPORT FAILED" not in log.split("Import times for custom nodes:")[1].split("\n\n")[0]


def test_all_nodes_give_the_embedded_engines_pictures(server, pictures, embedded_folder):
    for picture in pictures.iterdir():
        (server.folder / "input" / picture.name).write_bytes(picture.read_bytes())
    ours = on_embedded_engine(every_node(f"{pictures}/"), embedded_folder)
    assert_same_pictures(on_server(server, every_node()), ours)


def test_bad_input_is_named_and_the_queue_goes_on(server, pictures):
    for picture in pictures.iterdir():
        (server.folder / "input" / picture.name).write_bytes(picture.read_bytes())
    wrong = every_node()
    wrong["target_pose"]["inputs"]["image"] = "random_source.png"
    status = server.run(wrong)["status"]
    kind, message = status["messages"][-1]
    assert kind == "execution_error"
    assert message["node_type"] == "MannequinPersonConditioning"
    assert "not a dense pose" in message["exception_message"]
    assert on_server(server, every_node())


@pytest.mark.parametrize("path", WORKFLOWS)
def test_workflow_gives_the_embedded_engines_picture(server, path, embedded_folder):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    for entry in prompt.values():
        if entry["class_type"] == "MannequinLoadPersonModel" and not SHIPPED.exists():
            entry["inputs"]["model_name"] = "random.safetensors"
    assert_same_pictures(on_server(server, prompt), on_embedded_engine(prompt, embedded_folder))
