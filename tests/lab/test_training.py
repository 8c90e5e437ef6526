import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mannequin.hosts.patches import PatchAutoencoder
from mannequin.lab.training.autoencoder import fit_components, psnr
from mannequin.lab.training.data import Shards, garment_region, pair_index
from mannequin.lab.training.loop import Schedule, Trainer

pytest.importorskip("anny")

from mannequin.lab.people.estimator import degrade_dense_pose
from mannequin.lab.training.models import VAE, person_config
from mannequin.lab.training.person import PairBatches, Recipe, flow_l1, make_trainer

H, W = 32, 24


def write_shard(folder, number: int = 0, sets: int = 4) -> None:
    """Coloured noise in the shards' layout, labelled on the right; the flow is the identity."""
    g = torch.Generator().manual_seed(number)
    image = torch.randint(256, (sets, 4, H, W, 3), generator=g, dtype=torch.uint8)
    part = torch.randint(1, 17, (sets, 4, H, W, 1), generator=g, dtype=torch.uint8) * 10
    uv = torch.randint(256, (sets, 4, H, W, 2), generator=g, dtype=torch.uint8)
    label = torch.randint(0, 9, (sets, 4, H, W), generator=g, dtype=torch.uint8)
    label[..., : W // 2] = 0
    y, x = torch.meshgrid(torch.arange(H // 2), torch.arange(W // 2), indexing="ij")
    identity = torch.stack([(2 * x + 1) / (W // 2) - 1, (2 * y + 1) / (H // 2) - 1], -1)
    save_file(
        {
            "image": image,
            "dense_pose": torch.cat([part, uv], -1),
            "label": label,
            "flow": identity.half().expand(sets, 12, -1, -1, -1).contiguous(),
            "visible": torch.ones(sets, 12, H // 2, W // 2, dtype=torch.uint8),
        },
        folder / f"shard_{number:05d}.safetensors",
    )


@pytest.fixture
def shards(tmp_path):
    write_shard(tmp_path)
    found = Shards(tmp_path)
    found.refresh()
    return found


@pytest.fixture
def vae():
    torch.manual_seed(0)
    vae = PatchAutoencoder(**VAE)
    fit_components(vae, [(torch.rand(4, 3, H, W) * 2 - 1, torch.ones(4, 1, H, W))])
    return vae


def test_shards_that_appear_later_are_picked_up(tmp_path, shards):
    assert shards.sets == 4
    write_shard(tmp_path, 1)
    assert len(shards.refresh()) == 1 and shards.sets == 8
    assert shards.refresh() == []
    picked = shards.gather("image", torch.tensor([5]), torch.tensor([2]))
    assert torch.equal(picked[0], shards.shards[1]["image"][1, 2])


def test_pairs_are_numbered_as_they_are_stored():
    pairs = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j])
    assert pair_index(pairs[:, 0], pairs[:, 1]).tolist() == list(range(12))


def test_components_reconstruct_what_they_span(vae):
    smooth = torch.nn.functional.interpolate(torch.rand(64, 3, 4, 3), (H, W), mode="bilinear")
    x = smooth * 2 - 1
    fit_components(vae, [(x, torch.ones(64, 1, H, W))])
    assert psnr(vae.decode(vae.encode(x)), x) > 35
    assert psnr(vae.decode(vae.encode(-x.flip(0))), -x.flip(0)) > 30


def test_a_code_sees_nothing_beyond_its_patch(vae):
    x = torch.rand(1, 3, H, W)
    changed = x.clone()
    changed[..., :4, :4] += 1
    difference = (vae.encode(changed) - vae.encode(x)).abs().sum(1)[0]
    assert difference[0, 0] > 0 and difference.count_nonzero() == 1


def test_garment_region_keeps_faces_hair_and_hands_out(shards):
    label = shards.shards[0]["label"][:, 0]
    region = garment_region(label, shards.shards[0]["dense_pose"][:, 0], torch.Generator())
    assert region[label == 3].all()
    for kept in (2, 6, 7, 8):
        assert not region[label == kept].any()


def test_degraded_dense_poses_are_still_dense_poses_and_deterministic():
    iuv = torch.zeros(2, H, W, 3, dtype=torch.uint8)
    iuv[:, 8:24, 6:18] = torch.tensor([30, 100, 120], dtype=torch.uint8)
    out = degrade_dense_pose(iuv, torch.Generator().manual_seed(0))
    again = degrade_dense_pose(iuv, torch.Generator().manual_seed(0))
    assert torch.equal(out, again) and not torch.equal(out, iuv)
    assert out[..., 0].unique().tolist() == [0, 30]
    assert not out[out[..., 0] == 0].any()
    error = out[out[..., 0] > 0][:, 1:].float() - torch.tensor([100.0, 120.0])
    assert 0 < error.abs().mean() < 5


def test_flow_l1_of_the_identity_and_of_a_shift(shards):
    truth = shards.shards[0]["flow"][:, 0].float().movedim(-1, 1)
    visible = torch.ones(4, 1, H // 2, W // 2)
    mean = torch.nn.functional.avg_pool2d(truth, 2)
    assert flow_l1(mean, truth, visible) < 1e-3
    assert flow_l1(mean + 0.25, truth, visible) == pytest.approx(0.25, abs=1e-3)
    assert flow_l1(mean + 0.25, truth, torch.zeros_like(visible)) == 0


def test_batches_mask_what_try_on_repaints(shards, vae):
    batch = PairBatches(shards, vae, 32).draw(torch.Generator().manual_seed(0))
    mask, masked = batch.concat[:, :1], batch.concat[:, 1:13]
    grey = vae.encode(torch.zeros(1, 3, 4, 4))
    hidden = (mask > 0).expand_as(masked)
    whole = hidden.flatten(1).all(1)
    assert 0 < whole.sum() < 32
    torch.testing.assert_close(masked[whole], grey.expand_as(masked[whole]))
    kept = ~hidden
    assert kept.any()
    torch.testing.assert_close(masked[kept], batch.target[kept])


def quick_run(tmp_path, shards, vae, name: str, steps: int, until=lambda: False):
    schedule = Schedule(steps, warmup=2)
    phases = ((0.0, Recipe(batch=2)), (0.5, Recipe(batch=2, leffa=0.1)))
    trainer, loss = make_trainer(
        shards, vae, person_config(), tmp_path / f"{name}.safetensors", schedule, phases, seed=3
    )
    seen = []

    def watched(step, generator):
        terms = loss(step, generator)
        seen.append(terms)
        return terms

    trainer.run(watched, until or (lambda: False))
    return trainer, seen


def test_a_resumed_run_is_the_unbroken_run(tmp_path, shards, vae):
    whole, seen = quick_run(tmp_path, shards, vae, "whole", 4)
    assert "leffa" not in seen[0] and "leffa" in seen[2]
    count = iter(range(10))
    quick_run(tmp_path, shards, vae, "broken", 4, until=lambda: next(count) >= 2)
    resumed, rest = quick_run(tmp_path, shards, vae, "broken", 4)
    assert len(rest) == 2 and resumed.step == 4
    for name, p in whole.ema.items():
        assert torch.equal(p, resumed.ema[name]), name


def test_training_lowers_the_loss(tmp_path):
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)
    truth = torch.tensor([[1.0], [2.0], [-1.0], [0.5]])

    def loss(step, generator):
        x = torch.randn(32, 4, generator=generator)
        return {"total": (layer(x) - x @ truth).square().mean()}

    first = float(loss(0, torch.Generator().manual_seed(9))["total"])
    schedule = Schedule(300, rate=3e-2, warmup=10)
    trainer = Trainer({"layer": layer}, schedule, tmp_path / "t.safetensors", 0)
    trainer.run(loss)
    assert float(loss(0, torch.Generator().manual_seed(9))["total"]) < 1e-3 * first
    assert schedule.at(0) < schedule.at(100) == 3e-2 > schedule.at(299) > 0
