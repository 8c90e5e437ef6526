"""What ComfyUI is asked to keep free is what a person model's activations take."""

import pytest

from mannequin.hosts.memory import References, person_bytes
from mannequin.lab.training.models import build_published, person_config


def check(measured: dict) -> None:
    """At least the measured peak, and at most three times as much."""
    for case, (peak, asked) in measured.items():
        assert peak <= asked <= 3 * peak, f"{case}: {peak / 2**20:.1f}, asked {asked / 2**20:.1f}"


def test_the_tiny_model_asks_for_what_it_takes(comfy_child, person_file):
    measured = comfy_child("memory_child.py", person_file)
    check(measured)
    assert measured["references"][1] > 1.5 * measured["no_reference"][1]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "width"), [("sd15", 32), ("sdxl", 64)])
def test_a_published_model_asks_for_what_it_takes(comfy_child, tmp_path, family, width):
    path = build_published(0, tmp_path / "published.safetensors", family, width)
    check(comfy_child("memory_child.py", path))


def test_more_references_and_larger_pictures_ask_for_more():
    config = person_config()
    networks = config["unet"], config["unet_encoder"]

    def asked(h, w, *seen, rows=2, each=4):
        return person_bytes(*networks, (rows, 12, h, w), seen, each)

    one = References(1, 64, 48)
    assert asked(64, 48) < asked(64, 48, one) < asked(64, 48, one, one)
    assert asked(64, 48, one) < asked(64, 48, References(2, 64, 48))
    assert asked(128, 96) == pytest.approx(4 * asked(64, 48), rel=0.01)
    assert asked(64, 48, rows=4) == pytest.approx(2 * asked(64, 48), rel=0.01)
    assert asked(64, 48, one, each=2) == pytest.approx(asked(64, 48, one) / 2, rel=0.01)
