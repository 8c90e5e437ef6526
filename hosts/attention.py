"""Which attention runs here, for people."""

from typing import Any

import torch

from ..kernels.report import text, usual_device


def report(model: Any = None) -> str:
    """Backends and reasons for a model's device and precision; without one, this machine's."""
    device, dtype = usual_device(), torch.float16
    if model is not None and hasattr(model, "load_device"):
        device, dtype = torch.device(model.load_device), model.model.get_dtype()
    elif model is not None or device.type == "cpu":
        device, dtype = torch.device("cpu"), torch.float32
    return text(device, dtype)
