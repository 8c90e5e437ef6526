"""Pictures of flow fields: sizes, and what the colours mean."""

import pytest
import torch

from mannequin.methods.flow import FlowField, identity
from mannequin.methods.flow_view import MODES, view

H, W, GRID = 64, 48, (16, 12)
SCALE = 11


def field_of(shift=(0.0, 0.0), confidence=1.0, references=1):
    xy = (identity(*GRID, torch.empty(0)) + torch.tensor(shift)).expand(1, references, -1, -1, -1)
    return FlowField(xy, torch.full((1, references, *GRID), confidence))


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, H, W, 3, generator=generator), torch.rand(1, H, W, 3, generator=generator)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("references", [1, 2])
def test_every_mode_is_a_readable_picture(pictures, mode, references):
    image, reference = pictures
    out = view(
        mode, field_of((0.3, 0.1), 0.7, references), image, reference.repeat(references, 1, 1, 1)
    )
    assert out.shape == (1, H * SCALE, W * SCALE * references, 3)
    assert min(out.shape[1], W * SCALE) >= 512
    assert out.min() >= 0 and out.max() <= 1 and out.std() > 0.01


@pytest.mark.parametrize("mode", ["arrows", "confidence"])
def test_a_batch_is_its_pictures(pictures, mode):
    image, reference = pictures
    one, two = field_of((0.2, 0.0)), field_of((0.2, 0.0), 0.4)
    both = FlowField(torch.cat([one.xy, two.xy]), torch.cat([one.confidence, two.confidence]))
    out = view(mode, both, torch.cat([image, 1 - image]), reference)
    torch.testing.assert_close(out[:1], view(mode, one, image, reference))
    torch.testing.assert_close(out[1:], view(mode, two, 1 - image, reference))


@pytest.mark.parametrize(
    ("shift", "hue"),
    [((0.2, 0.0), (1, 0, 0)), ((-0.2, 0.0), (0, 1, 1)), ((0.0, 0.0), (1, 1, 1))],
    ids=["from the right: red", "from the left: cyan", "from here: white"],
)
def test_hue_is_the_direction_to_the_source(pictures, shift, hue):
    out = view("colour wheel", field_of(shift), *pictures)
    seen = out[0, 100, 200]
    pure = torch.tensor(hue, dtype=torch.float32)
    assert torch.equal((seen > 0.9).float(), (pure > 0.9).float())


def test_the_wheel_fades_where_the_flow_is_unsure(pictures):
    sure = view("colour wheel", field_of((0.2, 0.0), 1.0), *pictures)
    unsure = view("colour wheel", field_of((0.2, 0.0), 0.0), *pictures)
    assert unsure[0, 100, 200].sum() < 0.7 * sure[0, 100, 200].sum()


def test_warped_reference_of_no_motion_is_the_reference(pictures):
    image, _ = pictures
    reference = torch.zeros(1, H, W, 3)
    reference[:, : H // 2, :, 0] = 1
    out = view("warped reference", field_of(), image, reference)
    assert out[0, 100, 200].tolist() == [1, 0, 0]
    assert out[0, -100, 200].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("confidence", "colour"), [(0.0, [0, 0, 0]), (1.0, [1, 1, 1])])
def test_confidence_goes_from_black_to_white(pictures, confidence, colour):
    out = view("confidence", field_of(confidence=confidence), *pictures)
    assert out[0, 100, 200].tolist() == colour


def test_arrows_are_drawn_only_where_the_flow_is_sure(pictures):
    image, reference = pictures
    blank = torch.ones_like(image)
    assert view("arrows", field_of((0.3, 0.0), 0.1), blank, reference).min() == 1
    drawn = view("arrows", field_of((0.3, 0.0), 0.9), blank, reference)
    assert 0.02 < (drawn < 0.9).any(-1).float().mean() < 0.6


def test_a_large_picture_is_not_scaled(pictures):
    _, reference = pictures
    assert view("confidence", field_of(), torch.zeros(1, 600, 520, 3), reference).shape[1] == 600


def test_what_does_not_fit_is_named(pictures):
    image, reference = pictures
    with pytest.raises(ValueError, match="Unknown flow view 'hsv': expected one of"):
        view("hsv", field_of(), image, reference)
    with pytest.raises(ValueError, match=r"came 2 picture\(s\) and 1 reference"):
        view("arrows", field_of(), image.repeat(2, 1, 1, 1), reference)
