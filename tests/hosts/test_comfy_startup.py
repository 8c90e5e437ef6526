"""What the pack adds to ComfyUI's start, with and without what not everybody has installed."""

import pytest

from mannequin.lab.benchmarks import startup


@pytest.mark.parametrize("missing", startup.MISSING, ids=lambda names: "-".join(names) or "none")
@pytest.mark.slow
def test_loading_is_quick_and_imports_nothing_large(comfyui, comfy_python, missing, monkeypatch):
    """Processor time, so that a busy machine does not count; the best of three."""
    monkeypatch.setenv("COMFYUI_PYTHON", comfy_python)
    loads = [startup.load(comfyui, missing=missing) for _ in range(3)]
    assert all(load["loaded"] for load in loads)
    assert len(loads[0]["nodes"]) >= 8
    assert not {"diffusers", "triton", "mannequin"} & set(loads[0]["imported"])
    assert min(load["cpu_seconds"] for load in loads) <= startup.LIMIT
