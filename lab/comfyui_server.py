"""A ComfyUI server for scripts and tests that look at its front end."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
# No tour, no tips, and the same view in every picture.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.42.8",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}


def comfyui_dir() -> Path:
    """COMFYUI_DIR, or ~/comfy/ComfyUI."""
    return Path(os.environ.get("COMFYUI_DIR", "~/comfy/ComfyUI")).expanduser()


def comfyui_python(comfyui: Path) -> str:
    """COMFYUI_PYTHON, ComfyUI's own .venv, or ours."""
    own = comfyui / ".venv" / "bin" / "python"
    return os.environ.get("COMFYUI_PYTHON") or (str(own) if own.exists() else sys.executable)


def missing(comfyui: Path) -> str | None:
    """What a browser test lacks on this machine, or None."""
    if not (comfyui / "main.py").is_file():
        return f"no ComfyUI in {comfyui}: set COMFYUI_DIR"
    if not Path(CHROMIUM).exists():
        return f"no {CHROMIUM}: install Debian's chromium"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "no playwright: pip install playwright"
    front_end = [comfyui_python(comfyui), "-c", "import comfyui_frontend_package"]
    if subprocess.run(front_end, capture_output=True).returncode:
        return f"{front_end[0]} has no comfyui_frontend_package: set COMFYUI_PYTHON"
    return None


@contextmanager
def server(base: Path, comfyui: Path, models: dict[str, Path] | None = None) -> Iterator[str]:
    """A ComfyUI that lives in the new folder `base`, with the pack and the example pictures; its
    address. models: files by their place under models/.
    """
    (base / "custom_nodes").mkdir(parents=True)
    (base / "custom_nodes" / "mannequin").symlink_to(PACK)
    shutil.copytree(PACK / "workflows" / "inputs", base / "input")
    for place, file in (models or {}).items():
        (base / "models" / place).parent.mkdir(parents=True, exist_ok=True)
        (base / "models" / place).symlink_to(file)
    user = base / "user" / "default"
    user.mkdir(parents=True)
    (user / "comfy.settings.json").write_text(json.dumps(SETTINGS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [comfyui_python(comfyui), comfyui / "main.py", "--base-directory", base]
    command += ["--cpu", "--use-pytorch-cross-attention", "--listen", "127.0.0.1"]
    command += ["--port", str(port), "--disable-api-nodes", "--disable-auto-launch"]
    command += ["--database-url", "sqlite:///:memory:", "--preview-method", "latent2rgb"]
    log = base / "server.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=base,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address, log)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(360):
        try:
            urllib.request.urlopen(f"{address}/system_stats", timeout=2)
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None:
                break
            time.sleep(0.25)
    raise RuntimeError(f"ComfyUI did not start:\n{log.read_text()[-3000:]}")
