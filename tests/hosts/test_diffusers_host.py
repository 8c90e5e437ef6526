import json

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file

from mannequin.hosts import diffusers as host
from mannequin.hosts.sampling import NoiseSchedule, leading_noise_levels, noise_levels
from mannequin.hosts.sites import Call
from mannequin.hosts.unet import SiteUNet
from mannequin.lab.training.models import build, person_config, unet_config
from mannequin.methods.flow_record import FlowRecord
from mannequin.methods.leffa import Leffa, Reference
from mannequin.methods.person import DENSE_POSE_CHANNELS
from mannequin.methods.site import Method, Step

C, H, W = 12, 8, 6
NOW = Step(1.0, 0.0, 0, 1, (True,))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return host.load_person_model(build(0, tmp_path_factory.mktemp("w") / "r.safetensors"))


@pytest.fixture(scope="module")
def reference(loaded):
    g = torch.Generator().manual_seed(1)
    image = torch.rand(1, H * 4, W * 4, 3, generator=g)
    pose = torch.rand(1, 1, DENSE_POSE_CHANNELS, H, W, generator=g)
    return Reference(image, loaded[1].encode(image)[None], pose)


def concat(seed: int = 2, rows: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 1 + C + DENSE_POSE_CHANNELS, H, W, generator=g)


class Unseen(Method):
    """Nothing is to be looked at, on purpose."""

    shows_references = True


def sample(model, seed=0, steps=3, cfg=1.5, rows=1, latent=None, scheduler="simple", **kw):
    if not model.methods:
        model = host.patch(model, Unseen())
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": concat()}]]
    latent = latent or {"samples": torch.zeros(rows, C, H, W)}
    with torch.inference_mode():
        return host.sample(
            model, seed, steps, cfg, "euler", scheduler, conditioning, conditioning, latent, **kw
        )["samples"]


def test_sites_without_methods_compute_what_diffusers_computes():
    torch.manual_seed(0)
    plain = UNet2DConditionModel(**unet_config(4)).train(False)
    sited = UNet2DConditionModel(**unet_config(4)).train(False)
    sited.load_state_dict(plain.state_dict())
    x, t, text = torch.randn(2, 4, H, W), torch.tensor([3, 500]), torch.randn(2, 5, 32)
    with torch.inference_mode():
        expected = plain(x, t, text, return_dict=False)[0]
        out = SiteUNet(sited, text_free=False).forward(x, t, Call(NOW, (H, W)), text)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


def test_every_self_attention_gives_a_feature_at_its_grid():
    unet = UNet2DConditionModel(**unet_config(4))
    bank = SiteUNet(unet).features(torch.randn(2, 4, 9, 7), torch.tensor([1, 1]), Call(NOW, (9, 7)))
    sizes = {layer: tuple(f.shape) for layer, f in bank.items()}
    assert sizes["up.2.0"] == sizes["up.2.1"] == (2, 63, 32)
    assert sizes["down.1.0"] == sizes["up.1.0"] == (2, 20, 64)
    assert sizes["mid.0"] == sizes["down.2.0"] == (2, 6, 96)


def test_strength_zero_is_bit_identical_to_no_method(loaded, reference):
    model, _ = loaded
    plain = sample(model)
    assert torch.equal(plain, sample(host.patch(model, Leffa(reference, strength=0))))
    assert not torch.equal(plain, sample(host.patch(model, Leffa(reference))))


def test_recording_the_flow_does_not_change_the_picture(loaded, reference):
    model, _ = loaded
    record = FlowRecord()
    watched = sample(host.patch(model, Leffa(reference, observer=record)))
    torch.testing.assert_close(
        watched, sample(host.patch(model, Leffa(reference))), atol=1e-5, rtol=1e-5
    )
    assert record.field().xy.shape == (1, 1, H, W, 2)


def test_sampling_without_a_reference_says_what_to_do(loaded):
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": concat()}]]
    latent = {"samples": torch.zeros(1, C, H, W)}
    with pytest.raises(ValueError, match=r"none is connected. Put Flow-Guided Attention between"):
        host.sample(loaded[0], 0, 2, 1, "euler", "simple", conditioning, conditioning, latent)


@pytest.mark.parametrize("extras", [{}, {"noise_concat": torch.zeros(1, 9, H, W)}])
def test_conditioning_of_another_model_says_what_to_do(loaded, reference, extras):
    model = host.patch(loaded[0], Leffa(reference))
    other = [[torch.zeros(1, 1, 1), extras]]
    with pytest.raises(ValueError, match=r"41 channels.; got (none|9). Connect positive"):
        latent = {"samples": torch.zeros(1, C, H, W)}
        host.sample(model, 0, 2, 1, "euler", "simple", other, other, latent)


def test_two_references_keep_their_own_strengths_and_flows(loaded, reference):
    image = torch.rand(1, H * 4, W * 4, 3, generator=torch.Generator().manual_seed(9))
    other = Reference(image, loaded[1].encode(image)[None], reference.dense_pose.flip(-1))
    nodes = {"a": (reference, 0.4), "b": (other, 1.6)}
    pictures, flows = {}, {}
    for order in ("ab", "ba"):
        model, records = loaded[0], {name: FlowRecord() for name in order}
        for name in order:
            model = host.patch(model, Leffa(*nodes[name], observer=records[name]))
        pictures[order] = sample(model)
        flows[order] = {name: record.field().xy for name, record in records.items()}
    torch.testing.assert_close(pictures["ab"], pictures["ba"], atol=1e-3, rtol=1e-3)
    for name in nodes:
        torch.testing.assert_close(flows["ab"][name], flows["ba"][name], atol=1e-3, rtol=1e-3)
    assert (flows["ab"]["a"] - flows["ab"]["b"]).abs().max() > 1e-2
    both = host.patch(host.patch(loaded[0], Leffa(reference)), Leffa(other))
    assert (sample(both) - pictures["ab"]).abs().max() > 0.01


def test_patching_leaves_the_model_as_it_was(loaded, reference):
    model, _ = loaded
    before = sample(model)
    host.patch(model, Leffa(reference))
    assert torch.equal(before, sample(model))


def test_a_seed_fixes_the_result_and_another_changes_it(loaded):
    model, _ = loaded
    assert torch.equal(sample(model, 5), sample(model, 5))
    assert not torch.equal(sample(model, 5), sample(model, 6))


def test_a_batch_of_two_is_two_pictures(loaded, reference):
    out = sample(host.patch(loaded[0], Leffa(reference)), rows=2)
    assert out.shape == (2, C, H, W)
    assert not torch.equal(out[0], out[1])


def test_latent_outside_the_noise_mask_is_kept(loaded):
    model, _ = loaded
    start = torch.randn(1, C, H, W)
    mask = torch.zeros(1, H, W)
    mask[:, :, 3:] = 1
    out = sample(model, latent={"samples": start, "noise_mask": mask})
    torch.testing.assert_close(out[..., :3], start[..., :3], atol=1e-5, rtol=1e-5)
    assert not torch.equal(out[..., 3:], start[..., 3:])


def test_hooks_on_the_denoised_latent_and_the_mask_are_called(loaded):
    class Both(Method):
        def denoised(self, x0, step):
            return torch.full_like(x0, 0.25)

        def mask(self, mask, step):
            return torch.ones_like(mask)

    latent = {"samples": torch.zeros(1, C, H, W), "noise_mask": torch.zeros(1, H, W)}
    out = sample(host.patch(host.patch(loaded[0], Unseen()), Both()), latent=latent)
    torch.testing.assert_close(out, torch.full_like(out, 0.25), atol=2e-3, rtol=0)


def test_interrupting_from_the_callback_stops_the_run(loaded):
    seen = []

    def stop(index, total, x0):
        seen.append(index)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(loaded[0], callback=stop)
    assert seen == [0]


def test_a_conditioning_of_another_batch_is_an_error(loaded):
    conditioning = [[torch.zeros(1, 1, 1), {"noise_concat": concat(rows=3)}]]
    with pytest.raises(ValueError, match="3 pictures and the latent 2"):
        host.sample(
            host.patch(loaded[0], Unseen()), 0, 2, 1.0, "euler", "simple", conditioning,
            conditioning, {"samples": torch.zeros(2, C, H, W)},
        )  # fmt: skip


@pytest.mark.parametrize("scheduler", ["simple", "normal", "sgm_uniform", "ddim_uniform"])
def test_noise_levels_fall_to_zero(scheduler):
    levels = noise_levels(NoiseSchedule(), scheduler, 20, 1.0)
    assert len(levels) == 21 and levels[-1] == 0
    assert (levels.diff() < 0).all()


def test_partial_denoising_keeps_the_last_levels():
    schedule = NoiseSchedule()
    whole = noise_levels(schedule, "simple", 20, 1.0)
    half = noise_levels(schedule, "simple", 10, 0.5)
    assert torch.equal(half, whole[-11:])
    assert len(noise_levels(schedule, "simple", 10, 0.0)) == 0


def test_ddim_uniform_has_comfyuis_length_and_the_published_spacing_the_steps_asked_for():
    schedule = NoiseSchedule(zero_terminal_snr=False)
    assert len(noise_levels(schedule, "ddim_uniform", 30, 1.0)) == 32
    assert len(noise_levels(schedule, "ddim_uniform", 20, 1.0)) == 21
    for steps in (1, 7, 10, 30, 999):
        levels = leading_noise_levels(schedule.sigmas, steps)
        assert len(levels) == steps + 1 and (levels.diff() < 0).all()
    published = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        timestep_spacing="leading",
    )  # fmt: skip
    published.set_timesteps(30)
    levels = leading_noise_levels(schedule.sigmas, 30)
    assert [schedule.timestep(float(s)) for s in levels[:-1]] == published.timesteps.tolist()
    half = leading_noise_levels(schedule.sigmas, 10, 0.5)
    assert torch.equal(half, leading_noise_levels(schedule.sigmas, 20)[-11:])
    with pytest.raises(ValueError, match=r"Expected 1 to 1000 steps; got 2000 .1000 at denoise"):
        leading_noise_levels(schedule.sigmas, 1000, 0.5)


def test_the_last_timestep_is_pure_noise():
    schedule = NoiseSchedule()
    assert schedule.alphas_cumprod[-1] < 1e-7
    assert schedule.timestep(float(schedule.sigmas[700])) == 700


def test_unknown_names_are_errors(loaded):
    with pytest.raises(ValueError, match="Unknown scheduler 'nope'"):
        sample(loaded[0], scheduler="nope")


def test_encoding_crops_to_whole_patches_and_refuses_less(loaded):
    _, vae = loaded
    assert vae.encode(torch.rand(2, 9, 14, 3)).shape == (2, C, 2, 3)
    with pytest.raises(ValueError, match="1x1 pixels"):
        vae.encode(torch.rand(1, 1, 1, 3))


def bad_file(tmp_path, kind: str):
    path = (tmp_path / kind).with_suffix(".pth" if kind.endswith(".pth") else ".safetensors")
    config = None
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        whole = build(0, tmp_path / "whole.safetensors").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "foreign":
        save_file({"a": torch.zeros(1)}, path)
    elif kind == "published.pth":
        path.write_bytes(b"PK")
    elif kind == "unknown":
        save_file({f"{room}.a": torch.zeros(1) for room in ("unet", "unet_encoder", "vae")}, path)
    elif kind == "misfit":
        config = json.dumps(person_config())
    elif kind == "no configuration":
        config = json.dumps({"unet": unet_config(4)})
    elif kind == "no JSON":
        config = "{unet"
    elif kind == "other prediction":
        config = json.dumps({**person_config(), "prediction": "v"})
    if config is not None:
        tensors = {f"{room}.a": torch.zeros(1) for room in ("unet", "unet_encoder", "vae")}
        save_file(tensors, path, {"mannequin": config})
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("empty", "is empty"),
        ("truncated", "not a whole safetensors file"),
        ("foreign", "is not a person model: .* missing unet, unet_encoder, vae"),
        ("unknown", "not a published Leffa checkpoint: expected the tensors of a UNet"),
        ("misfit", "do not fit their configuration"),
        ("no configuration", "expected a configuration with .*; missing unet_encoder, vae"),
        ("no JSON", "expected JSON in the metadata's 'mannequin' entry; got '{unet'"),
        ("other prediction", "whose prediction is 'sample' or 'epsilon'; got 'v'"),
        ("published.pth", r"expected a .safetensors file; got .pth. Convert .* mannequin convert"),
    ],
)
def test_bad_model_files_are_named(tmp_path, kind, message):
    path = bad_file(tmp_path, kind)
    with pytest.raises(ValueError, match=message) as error:
        host.load_person_model(path)
    assert str(path) in str(error.value)
