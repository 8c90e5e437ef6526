"""A real ComfyUI for the tests that need one, and a person model with random weights."""

import copy
import io
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from mannequin.lab.training import inpaint_random, models

ROOT = Path(__file__).resolve().parents[2]
NEEDED = "torch, torchsde, aiohttp, transformers, safetensors, einops"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """ComfyUI's folder: COMFYUI_DIR, or ~/comfy/ComfyUI. Skips when there is none."""
    folder = Path(os.environ.get("COMFYUI_DIR", "~/comfy/ComfyUI")).expanduser()
    if not (folder / "comfy").is_dir():
        pytest.skip(f"no ComfyUI in {folder}: set COMFYUI_DIR to run this test")
    return folder


@pytest.fixture(scope="session")
def comfy_version(comfyui: Path) -> tuple[int, ...]:
    """(0, 18, 1), from the file that ComfyUI's releases write."""
    text = (comfyui / "comfyui_version.py").read_text(encoding="utf-8")
    return tuple(int(n) for n in text.split('"')[1].split("."))


@pytest.fixture(scope="session")
def comfy_python(comfyui: Path) -> str:
    """ComfyUI's interpreter: COMFYUI_PYTHON, its own .venv, or ours. Skips when it lacks things."""
    own = comfyui / ".venv" / "bin" / "python"
    python = os.environ.get("COMFYUI_PYTHON") or (str(own) if own.exists() else sys.executable)
    check = subprocess.run([python, "-c", f"import {NEEDED}"], capture_output=True, text=True)
    if check.returncode:
        last = check.stderr.strip().splitlines()[-1]
        pytest.skip(f"{python} cannot run ComfyUI ({last}): set COMFYUI_PYTHON to run this test")
    return python


@pytest.fixture(scope="session")
def person_file(tmp_path_factory) -> Path:
    """A person model with random weights."""
    return models.build(3, tmp_path_factory.mktemp("weights") / "random.safetensors")


@pytest.fixture(scope="session")
def inpaint_file(person_file: Path) -> Path:
    """An inpainting model with random weights, in the folder `inpaint` beside the person model."""
    (person_file.parent / "inpaint").mkdir()
    return inpaint_random.build(5, person_file.parent / "inpaint" / "random-inpaint.safetensors")


@pytest.fixture(scope="session")
def comfy_child(
    comfyui: Path, comfy_python: str, tmp_path_factory
) -> Callable[..., dict[str, Tensor]]:
    """child(script, model file, *flags of ComfyUI): the tensors that the script wrote."""

    def run(script: str, model: Path, *flags: str) -> dict[str, Tensor]:
        folder = tmp_path_factory.mktemp("child")
        outputs = folder / "out.safetensors"
        done = subprocess.run(
            [comfy_python, Path(__file__).with_name(script), comfyui, model, outputs, *flags],
            cwd=folder,
            env=ONE_THREAD,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return load_file(outputs)

    return run


class Server:
    """A ComfyUI server on this machine, and the folder that it lives in."""

    def __init__(self, port: int, folder: Path):
        self.url, self.folder = f"http://127.0.0.1:{port}", folder
        self.runs = itertools.count()

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def get(self, path: str, timeout: float = 30) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:
            return answer.read()

    def post(self, path: str, body: dict | None = None) -> bytes:
        """What the server answers; raises urllib.error.HTTPError when it refuses."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body or {}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def queue(self, prompt: dict) -> str:
        try:
            return json.loads(self.post("/prompt", {"prompt": prompt}))["prompt_id"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"ComfyUI refused the workflow: {error.read().decode()}")

    def wait(self, prompt_id: str, seconds: float = 180) -> dict:
        """The history entry of a prompt, once it is there."""
        for _ in range(int(seconds * 4)):
            history = json.loads(self.get(f"/history/{prompt_id}"))
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.25)
        pytest.fail(f"the workflow was not done after {seconds} s")

    def run(self, prompt: dict, seconds: float = 180) -> dict:
        """The history entry of a prompt, run to its end."""
        return self.wait(self.queue(prompt), seconds)

    def picture(self, entry: dict) -> np.ndarray:
        png = self.get(f"/view?{urllib.parse.urlencode(entry)}")
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int16)

    def paint(self, prompt: dict) -> dict[str, np.ndarray]:
        """The pictures that a workflow saves, a prefix's in one array [n, H, W, 3]; fails when
        it does.

        They are saved under new names, because ComfyUI does not list what was cached.
        """
        prompt = copy.deepcopy(prompt)
        for entry in prompt.values():
            if entry["class_type"] == "SaveImage":
                entry["inputs"]["filename_prefix"] += f"-{next(self.runs)}"
        history = self.run(prompt)
        assert history["status"]["status_str"] == "success", history["status"]["messages"][-1]
        images = (e for o in history["outputs"].values() for e in o.get("images", ()))
        saved = {e["filename"]: self.picture(e) for e in images if e["type"] == "output"}
        out: dict[str, list[np.ndarray]] = {}
        for name, picture in sorted(saved.items()):
            out.setdefault(name.rsplit("-", 1)[0], []).append(picture)
        return {prefix: np.stack(several) for prefix, several in out.items()}


@pytest.fixture(scope="session")
def start_server(
    comfyui: Path,
    comfy_python: str,
    person_file: Path,
    inpaint_file: Path,
    pictures: Path,
    tmp_path_factory,
):
    """start(*flags of ComfyUI): a context with a Server that has the pack and the pictures."""

    @contextmanager
    def start(*flags: str) -> Iterator[Server]:
        base = tmp_path_factory.mktemp("comfyui")
        (base / "custom_nodes").mkdir()
        (base / "custom_nodes" / "mannequin").symlink_to(ROOT)
        neighbour = Path(__file__).with_name("comfy_neighbour.py")
        (base / "custom_nodes" / neighbour.name).symlink_to(neighbour)
        (base / "models" / "mannequin").mkdir(parents=True)
        (base / "models" / "mannequin" / "random.safetensors").symlink_to(person_file)
        (base / "models" / "mannequin" / "inpaint").symlink_to(inpaint_file.parent)
        (base / "input").mkdir()
        for picture in (*(ROOT / "workflows" / "inputs").glob("*"), *pictures.iterdir()):
            (base / "input" / picture.name).symlink_to(picture)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [comfy_python, comfyui / "main.py", "--base-directory", base]
        command += ["--cpu", "--use-pytorch-cross-attention", "--listen", "127.0.0.1"]
        command += ["--port", str(port), "--disable-api-nodes", "--disable-auto-launch"]
        command += ["--database-url", "sqlite:///:memory:", *flags]
        log = base / "server.log"
        with log.open("w") as lines:
            process = subprocess.Popen(
                command, cwd=base, env=ONE_THREAD, stdout=lines, stderr=subprocess.STDOUT
            )
            try:
                yield _ready(process, Server(port, base))
            finally:
                process.terminate()
                process.wait(30)

    return start


def _ready(process: subprocess.Popen, server: Server) -> Server:
    for _ in range(360):
        if process.poll() is not None:
            pytest.fail(f"ComfyUI did not start:\n{server.log[-3000:]}")
        try:
            server.get("/system_stats", timeout=2)
            return server
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.25)
    pytest.fail(f"ComfyUI was not ready in time:\n{server.log[-3000:]}")


@pytest.fixture(scope="session")
def server(start_server) -> Iterator[Server]:
    with start_server() as running:
        yield running


@pytest.fixture(scope="session")
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


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture(scope="session")
def every_node() -> Callable[[str], dict]:
    """every_node(folder): a workflow of our nodes on the random pictures, which lie in `folder`."""

    def workflow(folder: str = "") -> dict:
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

    return workflow
