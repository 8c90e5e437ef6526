import pytest
import torch

from mannequin.methods.hands import decode_mask, encode_mask, generate, joint_loss, skin_of


def test_a_mask_comes_back_from_its_latent():
    mask = torch.zeros(2, 64, 64)
    mask[0, 10:50, 20:41] = 1
    mask[1, 3:9, 40:64] = 1
    latent = encode_mask(mask, (16, 16))
    assert latent.shape == (2, 4, 16, 16)
    back = decode_mask(latent, 64, 64) > 0.5
    both, either = (back & (mask > 0)).sum((1, 2)), (back | (mask > 0)).sum((1, 2))
    assert (both / either > 0.9).all()
    assert torch.equal(decode_mask(-torch.ones(1, 4, 3, 5), 12, 20), torch.zeros(1, 12, 20))


def test_the_joint_loss_is_the_sum_of_its_equations():
    g = torch.Generator().manual_seed(0)
    out, target = (torch.randn(3, 9, 4, 4, generator=g) for _ in "ab")
    weight, noise = torch.rand(3, 1, 4, 4, generator=g), torch.tensor([1.0, 0.5, 0.1])
    terms = joint_loss(out, target, weight, noise, share=0.25, floor=0.05)
    picture = mask = 0.0
    for b in range(3):
        error = (out[b] - target[b]).square() * weight[b] / (noise[b] + 0.05)
        picture += error[:5].sum() / 5
        mask += error[5:].sum() / 4
    assert terms["picture"] == pytest.approx(float(picture / weight.sum()), rel=1e-5)
    assert terms["mask"] == pytest.approx(float(mask / weight.sum()), rel=1e-5)
    assert terms["total"] == pytest.approx(float(terms["picture"] + 0.25 * terms["mask"]), rel=1e-6)


def test_cells_without_weight_do_not_count():
    out, target = torch.zeros(1, 6, 2, 2), torch.zeros(1, 6, 2, 2)
    target[..., 0, 0] = 7
    weight = torch.ones(1, 1, 2, 2)
    weight[..., 0, 0] = 0
    assert joint_loss(out, target, weight, torch.ones(1))["total"] == 0


def test_sampling_ends_at_what_is_predicted_and_reports_each_step():
    noise = torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted, seen = torch.full((1, 5, 4, 4), 0.3), []
    asked = []

    def predict(x, sigma):
        asked.append((float(x.std()), sigma))
        return wanted

    out = generate(predict, noise, [10.0, 2.0, 0.0], lambda k, x0: seen.append(k))
    torch.testing.assert_close(out, wanted)
    assert seen == [0, 1]
    assert [sigma for _, sigma in asked] == [10.0, 2.0]
    assert asked[1][0] == pytest.approx(2 * 101**0.5 / 10 * float(noise.std()), rel=1e-4)


def test_an_interrupt_goes_through_sampling():
    def stop(index, x0):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(lambda x, sigma: x, torch.zeros(1, 5, 2, 2), [1.0, 0.0], stop)


def test_skin_is_the_mean_under_the_mask():
    pictures = torch.full((2, 3, 8, 8), -1.0)
    masks = torch.zeros(2, 8, 8)
    masks[0, 2:4] = 1
    pictures[0, :, 2:4] = torch.tensor([0.5, 0.1, -0.2])[:, None, None]
    torch.testing.assert_close(skin_of(pictures, masks)[0], torch.tensor([0.5, 0.1, -0.2, 1.0]))
    assert torch.equal(skin_of(pictures, masks)[1], torch.zeros(4))
