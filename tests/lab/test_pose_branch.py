"""The branch beside the tiny base: its data, its training, its file, and what it is worth nothing
without.
"""

import numpy as np
import pytest
import torch

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.hosts import diffusers as host
from mannequin.hosts.pose_branch import layers_of, load_pose_branch
from mannequin.lab.people import write_shards
from mannequin.lab.people.portrait_shards import write_portraits
from mannequin.lab.training import inpaint_random, pose_branch
from mannequin.lab.training.pose_data import PosePool


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose-work")
    write_portraits(folder / "portraits", 0, 1, "train")
    write_shards(folder / "train", 0, 1, "train")
    return folder


@pytest.fixture(scope="module")
def base(work):
    return inpaint_random.build(0, work / "base.safetensors")


@pytest.fixture(scope="module")
def trained(work, base):
    """The files after one step and after three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pose_branch, "COUNTS", {"hand": 2, "body": 1})
        patch.setattr(pose_branch, "WIDTHS", (16, 16, 16))
        files = []
        for steps in (1, 3):
            files.append(work / f"{steps}.safetensors")
            pose_branch.run(work, base, files[-1], steps)
    return files


def test_drawings_lie_on_the_hands_of_both_domains(work):
    for domain, folder in (("hand", "portraits"), ("body", "train")):
        pool = PosePool(domain, work / folder)
        shares = []
        for k in range(len(pool)):
            _, label = pool.take(torch.tensor([k]))
            drawn = pool.drawing(k).amax(-1) > 0.3
            assert drawn.any()
            shares.append(float((label[0] > 0)[drawn].float().mean()))
        assert np.mean(shares) > 0.7


def test_regions_are_everything_all_but_the_hands_or_a_part(work):
    pool, rng = PosePool("hand", work / "portraits"), np.random.default_rng(0)
    _, label = pool.take(torch.tensor([0]))
    shares = [float(pool.region(label[0], rng).mean()) for _ in range(40)]
    assert 5 < sum(share == 1 for share in shares) < 30 and len(set(shares)) > 5


def test_it_trains_writes_and_goes_on(trained):
    first, last = (load_pose_branch(path) for path in trained)
    assert len(last.layers) == 9
    moved = [
        name
        for name, p in last.net.state_dict().items()
        if not torch.equal(p, first.net.state_dict()[name])
    ]
    assert any(name.startswith("leave") for name in moved)
    assert any(name.startswith("enter") for name in moved)


def test_features_fit_the_model_they_belong_to(trained, base):
    branch = load_pose_branch(trained[-1])
    model, *_ = host.load_inpaint_model(base)
    weights = host.cross_attention_weights(model)
    features = branch.features(torch.rand(2, 64, 48, 3), weights)
    for layer, (level, width) in layers_of(weights).items():
        assert features[layer].shape == (2, width, 16 >> level, 12 >> level)
    with pytest.raises(ValueError, match="trained beside a model with 9 attention layers"):
        branch.features(torch.rand(1, 64, 48, 3), {"mid.0": weights["mid.0"]})


def test_a_file_that_is_no_branch(base):
    with pytest.raises(ValueError, match="is an inpainting model with a text encoder, not a pose"):
        load_pose_branch(base)
