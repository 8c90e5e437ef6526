import pytest
import torch

from mannequin.methods.pose_branch import PoseGuide
from mannequin.methods.site import Site, Step

STEP = Step(1.0, 0.5, 2, 5, (True, True, False, False))


def site(layer="up.1.0", grid=(2, 3)):
    return Site("self", layer, 1, grid, STEP)


def test_features_are_added_pixel_by_pixel_to_each_picture_of_the_batch():
    features = torch.randn(2, 4, 2, 3)
    n = torch.randn(4, 6, 4)
    out = PoseGuide({"up.1.0": features}, 0.5).output(n, n, site())
    for row, picture in ((0, 0), (1, 1), (2, 0), (3, 1)):
        for y in range(2):
            for x in range(3):
                wanted = n[row, y * 3 + x] + 0.5 * features[picture, :, y, x]
                torch.testing.assert_close(out[row, y * 3 + x], wanted)


def test_other_layers_stay_and_other_grids_are_reached():
    n = torch.randn(2, 24, 4)
    guide = PoseGuide({"up.1.0": torch.ones(1, 4, 2, 3)})
    assert guide.output(n, n, site("down.1.0", (4, 6))) is n
    torch.testing.assert_close(guide.output(n, n, site(grid=(4, 6))), n + 1)


@pytest.mark.parametrize(
    "strength, start, end, active",
    [(0, 0, 1, False), (1, 0.6, 1, False), (1, 0, 0.4, False), (1, 0.5, 0.5, True)],
)
def test_when_it_acts(strength, start, end, active):
    assert PoseGuide({}, strength, start, end).active(STEP) is active


def test_a_batch_that_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"each of 3 pose\(s\) equally often; got 4"):
        PoseGuide({"up.1.0": torch.ones(3, 4, 2, 3)}).output(
            torch.zeros(4, 6, 4), torch.zeros(4, 6, 4), site()
        )
