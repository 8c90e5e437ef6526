"""Starts ComfyUI in this interpreter, without its server, and loads the pack into it.

For the scripts `*_child.py`, which the tests run in ComfyUI's own interpreter:
python X_child.py COMFYUI MODEL OUTPUTS [flags of ComfyUI]. Importing this module does all of it.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMFYUI, MODEL_FILE, OUTPUTS, *FLAGS = sys.argv[1:]
sys.path.insert(0, COMFYUI)
sys.argv = [sys.argv[0], "--cpu", "--use-pytorch-cross-attention", *FLAGS]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import nodes as comfy_nodes  # noqa: E402

torch.set_num_threads(1)

# ComfyUI loads the folder under a name of its own, so everything inside must import relatively.
NAME = "custom_nodes_x_pack"
spec = importlib.util.spec_from_file_location(
    NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
)
pack = importlib.util.module_from_spec(spec)
sys.modules[NAME] = pack
spec.loader.exec_module(pack)


def ours(name: str):
    """A module of the pack as ComfyUI knows it: ours("methods.leffa")."""
    return importlib.import_module(f"{NAME}.{name}")


def core(name: str):
    """A class of one of ComfyUI's files of extra nodes: core("nodes_model_merging.Merge")."""
    module, _, cls = name.partition(".")
    return getattr(importlib.import_module(f"comfy_extras.{module}"), cls)


def run(node_class, *args, **inputs) -> tuple:
    """The outputs of one of our nodes, called as ComfyUI's executor does."""
    with torch.inference_mode():
        return node_class.PREPARE_CLASS_CLONE(None).execute(*args, **inputs).args


def person_model():
    """MODEL and VAE of Load Person Model."""
    with torch.inference_mode():
        return ours("hosts.comfy").load_person_model(Path(MODEL_FILE))


def dense_pose(height: int, width: int, part: int) -> torch.Tensor:
    """A picture [1, H, W, 3] that is a dense pose: one part, smooth coordinates."""
    iuv = torch.zeros(1, height, width, 3)
    y, x = slice(height // 5, -height // 5), slice(width // 4, -width // 4)
    iuv[:, y, x, 0] = 10 * part / 255
    iuv[:, y, x, 1] = torch.linspace(0.1, 0.9, height)[y, None].mul(255).round() / 255
    iuv[:, y, x, 2] = torch.linspace(0.1, 0.9, width)[None, x].mul(255).round() / 255
    return iuv


def sample(model, positive, negative, latent, steps=3, cfg=2.5, seed=7) -> torch.Tensor:
    """KSampler's own path, from the LATENT dictionary to the new latent."""
    with torch.inference_mode():
        return comfy_nodes.common_ksampler(
            model, seed, steps, cfg, "euler", "simple", positive, negative, latent
        )[0]["samples"]


def save(tensors: dict[str, torch.Tensor], notes: dict[str, str] | None = None) -> None:
    """Writes what the tests are to look at."""
    save_file({key: t.contiguous().clone() for key, t in tensors.items()}, OUTPUTS, notes)
