"""Detail transfer on rendered people: a blurred truth stands for a model's sample, the true flow
with smooth errors for a model's flow.
"""

import pytest
import torch
import torch.nn.functional as F

from mannequin.lab.benchmarks.metrics import detail_correlation, garment, ssim
from mannequin.methods.flow import FlowField, detail_transfer, identity

pytestmark = pytest.mark.slow

GRID, CELL = (32, 24), 4


def noise(size, pixels, generator):
    """Smooth displacement [H, W, 2] of about `pixels` root mean square, in pixels."""
    coarse = torch.randn(1, 2, size[0] // 8, size[1] // 8, generator=generator)
    fine = F.interpolate(coarse, size, mode="bicubic")[0].movedim(0, -1)
    return fine * pixels / fine.square().sum(-1).mean().sqrt()


def field_of(true_flow, visible, pixels, generator):
    """A model's flow on its grid, less confident where the truth is hidden."""
    h, w, _ = true_flow.shape
    known = torch.isfinite(true_flow).all(-1, keepdim=True)
    flow = torch.where(known, true_flow, identity(h, w, torch.empty(0)))
    flow = flow + noise((h, w), pixels, generator) * 2 / torch.tensor([w, h])
    sure = (visible | ~known[..., 0]).float()
    xy = F.avg_pool2d(flow.movedim(-1, 0)[None], CELL).movedim(1, -1)
    confidence = 0.1 + 0.8 * F.avg_pool2d(sure[None], CELL)
    return FlowField(xy[None], confidence[None])


@pytest.fixture(scope="module")
def people():
    """(source, target, label, flow, visible) of printed garments."""
    from mannequin.lab.people import render_set

    rows = []
    for seed in range(6):
        person = render_set(seed, "heldout")
        pair = next(i for i, p in enumerate(person.pairs.tolist()) if p == [0, 1])
        image = torch.from_numpy(person.image[:2]) / 255
        rows.append(
            (
                image[:1],
                image[1:],
                torch.from_numpy(person.label[1:2]),
                torch.from_numpy(person.flow[pair]).float(),
                torch.from_numpy(person.visible[pair]),
            )
        )
    return rows


@pytest.mark.parametrize(("pixels", "gain"), [(0.0, 0.12), (0.5, 0.06)])
def test_prints_come_back(people, pixels, gain):
    generator = torch.Generator().manual_seed(0)
    kernel = torch.exp(-(torch.arange(-8, 9) / 2.5).square() / 2)
    kernel = (kernel[:, None] * kernel[None] / kernel.sum() ** 2).expand(3, 1, 17, 17)
    figures = []
    for source, target, label, flow, visible in people:
        padded = F.pad(target.movedim(-1, 1), (8,) * 4, mode="reflect")
        sample = F.conv2d(padded, kernel, groups=3).movedim(1, -1)
        field = field_of(flow, visible, pixels, generator)
        picture, _ = detail_transfer(sample, source, field)
        where = garment(label)
        figures.append(
            [
                measure(p, target, where)
                for measure in (ssim, detail_correlation)
                for p in (sample, picture)
            ]
        )
    before, after, low, high = torch.tensor(figures).mean(0).tolist()
    assert after > before + gain
    assert high > low + gain
