"""The recurrent aligner as a method: what it does to Leffa's tokens, whatever the network."""

from dataclasses import replace

import pytest
import torch

from mannequin.methods.alignment import Alignment
from mannequin.methods.flow import identity
from mannequin.methods.flow_record import FlowRecord
from mannequin.methods.leffa import Leffa, Reference
from mannequin.methods.person import generator_concat
from mannequin.methods.reposedm import Aligned, AlignmentRecord, target_pose_of
from mannequin.methods.site import Site, Step

C, D, H, W = 2, 3, 4, 6
LAYER, COARSE = "up.0.0", "mid.0"


def step(rows: tuple[bool, ...] = (True,), index: int = 0) -> Step:
    return Step(1.0 + index, index / 3, index, 4, rows, (4.0, 3.0, 2.0, 1.0))


def site(now: Step) -> Site:
    return Site("self", LAYER, 1, (H, W), now)


def reference(sets: int = 1, count: int = 1) -> Reference:
    g = torch.Generator().manual_seed(0)
    return Reference(
        torch.rand(count, 8, 12, 3, generator=g),
        torch.randn(sets, count, C, H, W, generator=g),
        torch.randn(sets, count, D, H, W, generator=g),
    )


def target(sets: int = 1, grid: tuple[int, int] = (H, W)) -> torch.Tensor:
    return torch.randn(sets, D, *grid, generator=torch.Generator().manual_seed(1))


def run_reference(inputs: torch.Tensor, sigma: float) -> dict[str, torch.Tensor]:
    coarse = torch.nn.functional.avg_pool2d(inputs, 2)
    return {LAYER: inputs.flatten(2).mT, COARSE: coarse.flatten(2).mT}


class Net:
    """Takes what lies `shift` cells to the right; `sure`: [h, w] or a number, the confidence."""

    def __init__(self, shift: float = 0.0, sure=1 - 1e-6, told: float = 0.0) -> None:
        self.shift, self.sure, self.told = shift, torch.as_tensor(sure), told
        self.calls = []

    def __call__(self, texture, source_pose, target_pose, iterations):
        self.calls.append((texture, source_pose, target_pose))
        p, _, h, w = target_pose.shape
        here = identity(h, w, target_pose).expand(p, -1, -1, -1)
        way = torch.tensor([2 * self.shift / w, 0.0])
        flows = torch.stack([here + way * (k + 1) / iterations for k in range(iterations)])
        logits = torch.logit(self.sure).expand(iterations, p, h, w)
        return Alignment(here, flows, logits, target_pose)

    def residual(self, hidden, layer):
        return torch.full((len(hidden), C + D, *hidden.shape[-2:]), self.told)


def prepared(method: Leffa, rows=(True,), index: int = 0) -> dict[str, torch.Tensor]:
    method.prepare(step(rows, index), run_reference)
    return method.bank


def attended(method: Leffa, rows=(True,), others=()) -> torch.Tensor:
    now = step(rows)
    g = torch.Generator().manual_seed(3)
    n = torch.randn(len(rows), H * W, C + D, generator=g)
    q, keys, values = n[:, None], n, n
    for one in (*others, method):
        one.prepare(now, run_reference)
        _, keys, values = one.context(n, keys, values, site(now))
    return method.attend(q, keys[:, None], values[:, None], site(now), others)


def test_no_iterations_is_leffa_bit_for_bit():
    net = Net(1.0)
    for rows in ((True,), (True, False)):
        method = Aligned(reference(), net, None, target(), 0)
        plain = Leffa(reference())
        bank, wanted = prepared(method, rows), prepared(plain, rows)
        assert all(torch.equal(bank[layer], wanted[layer]) for layer in wanted)
        assert not method.attends(site(step(rows)))
        assert torch.equal(attended(method, rows), attended(plain, rows))
    assert not net.calls


def test_strength_zero_is_off():
    assert not Aligned(reference(), Net(), None, target(), 3, strength=0).active(step())


def test_tokens_are_fetched_from_where_the_flow_says():
    plain = prepared(Leffa(reference()))[LAYER].view(H, W, -1)
    still = prepared(Aligned(reference(), Net(), None, target(), 2))[LAYER].view(H, W, -1)
    torch.testing.assert_close(still, plain, atol=1e-5, rtol=0)
    right = prepared(Aligned(reference(), Net(1.0), None, target(), 2))[LAYER].view(H, W, -1)
    torch.testing.assert_close(right[:, :-1], plain[:, 1:], atol=1e-5, rtol=0)
    assert not torch.allclose(right, plain, atol=0.1)


def test_a_layer_of_another_grid_follows_the_same_flow():
    plain = prepared(Leffa(reference()))[COARSE].view(H // 2, W // 2, -1)
    right = prepared(Aligned(reference(), Net(2.0), None, target()))[COARSE]
    right = right.view(H // 2, W // 2, -1)
    torch.testing.assert_close(right[:, :-1], plain[:, 1:], atol=1e-5, rtol=0)


def test_the_residual_is_added_to_every_aligned_token():
    without, told = (
        prepared(Aligned(reference(), Net(told=x), None, target()), (True, False))[LAYER]
        for x in (0.0, 0.5)
    )
    torch.testing.assert_close(told[0] - without[0], torch.full((H * W, C + D), 0.5))
    assert torch.equal(told[1], without[1])


def test_unconditional_rows_are_not_aligned():
    wanted = prepared(Leffa(reference()), (False, True))[LAYER]
    method = Aligned(reference(), Net(1.0, 0.5), None, target())
    bank = prepared(method, (False, True))[LAYER]
    assert torch.equal(bank[0], wanted[0]) and not torch.equal(bank[1], wanted[1])
    bias = method._bias(site(step()), torch.zeros(()))
    assert not bias[0].any()
    torch.testing.assert_close(bias[1].exp(), torch.full((H * W,), 0.5))


def test_models_without_a_taught_nothing_align_both_prompts_alike():
    ref = replace(reference(sets=2), shown_to_all=True)
    method = Aligned(ref, Net(1.0), None, target(2))
    bank = prepared(method, (True, True, False, False))[LAYER]
    assert torch.equal(bank[:2], bank[2:]) and not torch.equal(bank[0], bank[1])


def test_a_token_without_confidence_is_hardly_looked_at():
    sure = torch.full((H, W), 1 - 1e-6)
    sure[:, : W // 2] = 1e-9
    hidden = Aligned(reference(), Net(sure=sure), None, target())
    out = attended(hidden)
    every = attended(Aligned(reference(), Net(), None, target()))
    n = torch.randn(1, H * W, C + D, generator=torch.Generator().manual_seed(3))
    kept = reference().inputs[0, 0].flatten(1).T.view(H, W, -1)[:, W // 2 :].flatten(0, 1)[None]
    keys = torch.cat([n, kept], 1)
    wanted = torch.nn.functional.scaled_dot_product_attention(n, keys, keys)
    torch.testing.assert_close(out[:, 0], wanted, atol=0.02, rtol=0)
    assert not torch.allclose(every[:, 0], wanted, atol=0.05)


def test_strength_and_confidence_multiply():
    method = Aligned(reference(), Net(sure=0.5), None, target(), strength=0.5)
    prepared(method)
    bias = method._bias(site(step()), torch.zeros(()))
    torch.testing.assert_close(bias, torch.full((1, H * W), 0.25).log())


def test_confidence_counts_also_when_a_plain_leffa_attends_for_both():
    other = Leffa(replace(reference(), latents=reference().latents + 1))
    unsure = Aligned(reference(), Net(sure=1e-12), None, target())
    both = attended(other, others=(unsure,))
    alone = attended(other)
    sure = attended(other, others=(Aligned(reference(), Net(), None, target()),))
    assert (both - alone).abs().max() < 0.01 < (sure - alone).abs().max()


def test_every_reference_is_aligned_on_its_own():
    ref, net = reference(count=2), Net(1.0)
    bank = prepared(Aligned(ref, net, None, target(), 1))[LAYER]
    texture, pose, goal = net.calls[0]
    assert torch.equal(texture, ref.latents[0]) and torch.equal(pose, ref.dense_pose[0])
    assert torch.equal(goal, target().expand(2, -1, -1, -1))
    plain = prepared(Leffa(ref))[LAYER].view(2, H, W, -1)
    right = bank.view(2, H, W, -1)
    torch.testing.assert_close(right[:, :, :-1], plain[:, :, 1:], atol=1e-5, rtol=0)


def test_one_reference_serves_a_batch_of_target_poses():
    net = Net()
    method = Aligned(reference(), net, None, target(3))
    prepared(method, (True,) * 3 + (False,) * 3)
    assert torch.equal(net.calls[0][2], target(3)) and len(net.calls[0][0]) == 3
    with pytest.raises(ValueError, match="3 target poses for a batch of 2"):
        prepared(method, (True, True))


def test_a_batch_that_repeats_the_poses_takes_them_in_turn():
    class Telling(Net):
        def residual(self, hidden, layer):
            return hidden[:, :1].expand(-1, C + D, -1, -1)

    method = Aligned(reference(), Telling(), None, target(2))
    bank = prepared(method, (True,) * 4 + (False,) * 4)[LAYER]
    assert torch.equal(bank[:2], bank[2:4]) and not torch.equal(bank[0], bank[1])


def test_the_flow_is_found_once_per_run():
    net = Net(1.0)
    record = AlignmentRecord()
    method = Aligned(reference(), net, None, target(), record=record)
    for run in (1, 2):
        method.begin()
        assert record.flow is None
        banks = [prepared(method, (True, False), index)[LAYER] for index in range(3)]
        prepared(method, (True,))
        assert len(net.calls) == run
        assert torch.equal(banks[0], banks[2])
        method.end()
        assert record.flow is not None and not method.bank


def test_once_keeps_aligned_tokens_and_their_confidence():
    method = Aligned(reference(), Net(1.0, 0.5), None, target(), once=True)
    method.begin()
    for index in range(2):
        prepared(method, (True, False), index)
        assert method.attends(site(step()))
        assert method._bias(site(step()), torch.zeros(())).shape == (2, H * W)


def test_a_result_of_another_size_gets_tokens_on_its_own_grid():
    grid = (H, 2 * W)
    method = Aligned(reference(), Net(), None, target(grid=grid))
    bank = prepared(method, (True, False))
    assert bank[LAYER].shape == (2, H * 2 * W, C + D)
    assert bank[COARSE].shape == (2, H * W // 2, C + D)
    plain = prepared(Leffa(reference()))[LAYER].view(H, W, -1)
    wide = bank[LAYER][0].view(H, W, 2, -1).mean(2)
    middle = plain[:, 1:-1] * 0.75 + (plain[:, :-2] + plain[:, 2:]) * 0.125
    torch.testing.assert_close(wide[:, 1:-1], middle, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_recorded_flow_leads_to_the_source_not_to_the_aligned_tokens(shift):
    record = FlowRecord()
    method = Aligned(reference(), Net(shift), None, target(), observer=record)
    now = step()
    method.prepare(now, run_reference)
    tokens = torch.nn.functional.normalize(method.bank[LAYER], dim=-1)
    keys = torch.cat([torch.zeros_like(tokens), tokens], 1)[:, None]
    method.attend(300 * tokens[:, None], keys, keys, site(now))
    xy = record.field().xy[0, 0]
    wanted = identity(H, W, xy) + torch.tensor([2 * shift / W, 0.0])
    torch.testing.assert_close(xy[:, :-2], wanted[:, :-2], atol=1e-3, rtol=0)
    assert record.field().confidence[:, :, :, :-2].min() > 0.99


def test_the_record_shows_the_source_warped_after_every_iteration():
    ref, record = reference(), AlignmentRecord()
    with pytest.raises(ValueError, match="No alignment was made"):
        record.pictures(ref.images, (8, 12))
    method = Aligned(ref, Net(2.0, 0.5), None, target(), 2, record=record)
    prepared(method)
    assert record.flow.shape == (2, 1, 1, H, W, 2) and record.confidence.shape == (2, 1, 1, H, W)
    warped, sure = record.pictures(ref.images, (8, 12))
    assert warped.shape == (2, 1, 1, 8, 12, 3) and sure.shape == (2, 1, 1, 8, 12)
    for k, pixels in ((0, 2), (1, 4)):
        torch.testing.assert_close(
            warped[k, 0, 0, :, :-pixels], ref.images[0, :, pixels:], atol=1e-5, rtol=0
        )
    torch.testing.assert_close(sure, torch.full_like(sure, 0.5))
    with pytest.raises(ValueError, match="belongs to 1 reference"):
        record.pictures(ref.images.repeat(2, 1, 1, 1), (8, 12))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"iterations": -1}, "iterations must be >= 0"),
        ({"strength": -1.0}, "strength"),
        ({"source_pose": torch.zeros(1, 2, D, H, W)}, "a source pose for each of 1 reference"),
        ({"target_pose": torch.zeros(1, D + 1, H, W)}, "poses of one kind"),
    ],
)
def test_what_does_not_fit_is_named(changed, message):
    given = {"reference": reference(), "net": Net(), "source_pose": None, "target_pose": target()}
    with pytest.raises(ValueError, match=message):
        Aligned(**{**given, **changed})


def test_poses_for_another_number_of_references_are_named():
    with pytest.raises(ValueError, match="got 2 and 3"):
        Aligned(reference(sets=2), Net(), None, target(3))


def test_layers_of_another_width_are_named():
    method = Aligned(reference(), Net(), None, target())
    with pytest.raises(ValueError, match=r"layer up\.0\.0 is 5 wide; here it is 4"):
        method.prepare(step(), lambda x, _: {LAYER: x[:, :4].flatten(2).mT})


def test_the_target_pose_is_read_from_the_conditioning():
    parts = torch.rand(1, 1, H, W), torch.rand(1, C, H, W), torch.rand(1, D, H, W)
    assert torch.equal(target_pose_of(generator_concat(*parts), C), parts[2])
