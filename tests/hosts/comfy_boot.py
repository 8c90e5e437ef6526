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

import comfy.model_base  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.supported_models  # noqa: E402
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


TEXT, POOLED = 32, 16


def plain_model(channels: int = 4, xl: bool = False) -> comfy.model_patcher.ModelPatcher:
    """A MODEL as Load Checkpoint makes it of an SD1.5 file (9 channels: of an inpainting one) or an
    SDXL file, but small and with random weights.
    """
    shape = {
        "image_size": 32,
        "in_channels": channels,
        "out_channels": 4,
        "model_channels": 32,
        "channel_mult": [1, 2, 4],
        "num_res_blocks": [1, 1, 1],
        "transformer_depth": [1, 1, 0],
        "transformer_depth_output": [1, 1, 1, 1, 0, 0],
        "transformer_depth_middle": 1,
        "context_dim": TEXT,
        "num_heads": 4,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "legacy": False,
        "dtype": torch.float32,
    }
    if xl:
        shape |= {
            "adm_in_channels": POOLED + 6 * 256,
            "num_classes": "sequential",
            "transformer_depth": [0, 2, 0],
            "transformer_depth_output": [0, 0, 2, 2, 0, 0],
        }
    families = comfy.supported_models
    family = (families.SDXL if xl else families.SD15)(shape)
    family.set_inference_dtype(torch.float32, None)
    model = (comfy.model_base.SDXL if xl else comfy.model_base.BaseModel)(family)
    if channels > 4:
        model.set_inpaint()
    generator = torch.Generator().manual_seed(1)
    for name, p in model.diffusion_model.named_parameters():
        fan = p[0].numel() if p.ndim > 1 else 1
        p.data = torch.randn(p.shape, generator=generator) / fan**0.5
        if p.ndim == 1:
            p.data = torch.ones_like(p) if name.endswith("weight") else torch.zeros_like(p)
    return comfy.model_patcher.ModelPatcher(
        model.requires_grad_(False),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


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
