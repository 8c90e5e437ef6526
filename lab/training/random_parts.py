"""What stands beside a model, with random weights, for tests of everything but the quality."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...hosts import diffusers as host
from ...hosts.aligner import Aligner, AlignerNet, aligner_config, write_aligner
from ...hosts.face_finder import FaceFinder
from ...hosts.faces import FaceNet
from ...hosts.pose_branch import PoseNet, layers_of
from . import aligner


def build_face_model(path: Path, dimension: int) -> Path:
    """A face model whose finder never finds anything; its vectors have `dimension` numbers."""
    torch.manual_seed(0)
    net, finder = FaceNet((8, 16, 16), dimension), FaceFinder((8, 16))
    with torch.no_grad():
        finder.leave.weight.zero_()
        finder.leave.bias.fill_(-9)
    rooms = {"face": net, "finder": finder}
    config = {
        "family": "mannequin-tiny-face",
        "widths": [8, 16, 16],
        "dimension": dimension,
        "finder": {"widths": [8, 16]},
        "alike": -1.0,
    }
    states = {
        f"{room}.{name}": t.contiguous()
        for room, module in rooms.items()
        for name, t in module.state_dict().items()
    }
    save_file(states, path, {"mannequin": json.dumps(config)})
    return path


def build_aligner(path: Path, model: host.PersonModel) -> Path:
    """An aligner for that person model."""
    torch.manual_seed(3)
    small = {"hidden": 8, "width": 8, "embedding": 8}
    config = aligner_config(model.config, aligner.layers_of(model), **small)
    net = AlignerNet(**config["net"])
    with torch.no_grad():
        for p in net.parameters():
            p += torch.randn_like(p) * 0.1
    write_aligner(path, Aligner(config, net, {"random": True}))
    return path


def build_branch(path: Path, model: Any) -> Path:
    """A pose branch for that inpainting model."""
    net = {"layers": layers_of(host.cross_attention_weights(model))}
    net |= {"widths": [8, 8, 8], "patch": 4}
    g = torch.Generator().manual_seed(5)
    made = {
        f"branch.{name}": torch.randn(t.shape, generator=g) / 4
        for name, t in PoseNet(**net).state_dict().items()
    }
    config = {"family": "mannequin-tiny-pose-branch", "net": net}
    save_file(made, path, {"mannequin": json.dumps(config)})
    return path
