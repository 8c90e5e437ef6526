"""Pictures of routes."""

import pytest
import torch

from mannequin.methods.route_view import COLOURS, FAINT, glance, mask, view
from mannequin.methods.routes import RouteRecord
from mannequin.methods.site import Site, Step

H, W = 16, 24


def recorded(rows=1):
    """Two people, the first on the left third, the second on the right; everybody from the second
    step on. A self-attention layer knows the sum alone.
    """
    record = RouteRecord(words=("woman", "man"))
    for index in range(3):
        step = Step(1.0, index / 2, index, 3, (True,) * rows)
        for kind, layer, (h, w) in (("cross", "mid.0", (4, 6)), ("self", "up.0.0", (8, 12))):
            left = (torch.arange(w) < w // 3).float().expand(h, w).flatten()
            right = left.unflatten(0, (h, w)).flip(1).flatten()
            share = (left + right) * min(index, 1)
            each = torch.stack([left, right], -1).expand(rows, -1, -1)
            site = Site(kind, layer, 1, (h, w), step)
            record.observe(site, share.expand(rows, -1), each if kind == "cross" else None)
    return record


@pytest.fixture
def picture():
    return torch.full((1, H, W, 3), 0.5)


def test_the_mask_of_a_person_is_where_they_were_painted(picture):
    record = recorded()
    first, second, all_ = (mask(record, picture, k) for k in (1, 2, 0))
    assert first.shape == (1, H, W)
    assert first[0, :, : W // 3 - 4].min() > 0.6 and first[0, :, W // 2 :].max() == 0
    torch.testing.assert_close(second, first.flip(2))
    assert all_[0, :, :4].min() > 0.6 and all_[0, :, -4:].min() > 0.6
    assert all_[0, :, W // 2 - 1 : W // 2 + 1].max() < 0.2


def test_people_stand_in_their_colours_over_the_picture(picture):
    drawn = view("people", recorded(), picture)
    assert drawn.shape == (1, 512, 768, 3)
    below = drawn[0, 300:]
    assert torch.allclose(below[:, 384], torch.tensor(0.5), atol=1 / 255)  # nobody is there
    for column, colour in ((60, COLOURS[0]), (-60, COLOURS[1])):
        toward = below[:, column] - 0.5
        assert (toward @ (colour - 0.5) > 0.05).all()
    assert (drawn[0, 12:20, 10:20] - COLOURS[0]).abs().max() < 1 / 255  # the legend


def test_a_tile_for_every_layer_and_step(picture):
    record = recorded()
    dark = view("time", record, picture)
    assert dark.shape[2] / dark.shape[1] == W / H  # three steps in two rows of two
    h, w = dark.shape[1] // 2, dark.shape[2] // 2
    first, last = dark[0, 40:h, :20].mean(), dark[0, h + 40 :, :20].mean()
    assert first < 0.2 < last and dark[0, h:, w:].max() == 0
    layers = view("layers", record, picture)
    assert layers.shape[2] / layers.shape[1] == 2 * W / H
    # only the layers that read the text know one person from another
    alone = view("layers", record, picture, 1)
    assert alone.shape[2] / alone.shape[1] == W / H


def test_a_glance_is_small_and_coloured():
    seen = glance(recorded(2), 32, 48)
    assert seen.shape == (2, 32, 48, 3)
    assert torch.equal(seen[:, :, 24], torch.full((2, 32, 3), FAINT))
    assert (seen[0, 16, 2] - COLOURS[0]).abs().max() < (seen[0, 16, 2] - COLOURS[1]).abs().max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "flow"}, "Unknown view 'flow': expected one of"),
        ({"subject": 3}, "no subject 3: expected 0 for everybody, or one of 1 woman, 2 man"),
        ({"image": torch.zeros(2, H, W, 3)}, "belong to 1 picture.* came 2 picture"),
        ({"image": torch.zeros(1, H, H, 3)}, "before it is cropped or pasted"),
        ({"record": RouteRecord(("woman",))}, "No routes were recorded"),
    ],
)
def test_what_does_not_fit_is_named(picture, change, message):
    given = {"mode": "people", "record": recorded(), "image": picture, "subject": 0, **change}
    with pytest.raises(ValueError, match=message):
        view(**given)
