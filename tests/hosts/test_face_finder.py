import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor, nn

from mannequin.hosts.face_finder import STRIDE, TYPICAL, FaceFinder, find_faces, votes

WINDOW = 2.0  # sides of a red square that its window has


class Seeing(nn.Module):
    """What FaceFinder says of every cell; a window is WINDOW times as wide as its red square."""

    def forward(self, picture: Tensor) -> Tensor:
        out = []
        for one in picture:
            red = (one[0] > 0) & (one[1] < 0) & (one[2] < 0)
            names, count = label(red.numpy())
            h, w = (-(-n // STRIDE) for n in red.shape)
            told = torch.zeros(4, h, w)
            told[0] = -6
            y = (torch.arange(h) + 0.5)[:, None].expand(h, w) * STRIDE
            x = (torch.arange(w) + 0.5).expand(h, w) * STRIDE
            for k in range(1, count + 1):
                area = torch.from_numpy(names == k)
                rows, columns = area.any(1).nonzero(), area.any(0).nonzero()
                top, left = float(rows.min()), float(columns.min())
                bottom, right = float(rows.max()) + 1, float(columns.max()) + 1
                side = WINDOW * max(bottom - top, right - left)
                here = (y > top) & (y < bottom) & (x > left) & (x < right)
                told[0][here] = 6
                told[1][here] = ((left + right) / 2 - x[here]) / side
                told[2][here] = ((top + bottom) / 2 - y[here]) / side
                told[3][here] = torch.tensor(side / TYPICAL).log()
            out.append(told)
        return torch.stack(out)


def crowd(height: int, width: int, *faces: tuple[int, int, int]) -> Tensor:
    """A picture [height, width, 3] with red squares at left, top and side; the rest has colours
    that are no face's."""
    g = torch.Generator().manual_seed(height)
    picture = torch.rand(height, width, 3, generator=g) * 0.4
    picture[..., 1] += 0.55
    for left, top, side in faces:
        y, x = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
        picture[y, x] = torch.tensor([1.0, 0, 0])
    return picture


def middle(face):
    left, top, right, bottom = face.window
    return (left + right) / 2, (top + bottom) / 2


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (16, 17), (127, 95)])
def test_the_network_takes_any_size(size):
    torch.manual_seed(0)
    net = FaceFinder((8, 16, 16)).eval()
    out = net(torch.rand(2, 3, *size))
    assert out.shape == (2, 4, *(-(-n // STRIDE) for n in size))
    assert out.isfinite().all()


def test_no_place_is_told_apart_by_the_size_of_the_picture():
    """Every place is normalised by itself: what lies far away changes nothing."""
    torch.manual_seed(0)
    net = FaceFinder((8, 8)).eval()
    small = torch.rand(1, 3, 64, 64)
    large = torch.cat([small, torch.rand(1, 3, 64, 192)], -1)
    assert torch.allclose(net(small)[..., :20], net(large)[..., :20], atol=1e-5)


def test_votes_against_the_formula():
    out = torch.zeros(1, 4, 3, 5)
    out[0, :, 1, 4] = torch.tensor([2.0, 0.5, -0.25, 1.0])
    p, x, y, side = votes(out)[0, 1, 4]
    assert float(p) == pytest.approx(0.8808, abs=1e-4)
    assert float(side) == pytest.approx(TYPICAL * 2.71828, rel=1e-4)
    assert float(x) == pytest.approx(9 + 0.5 * float(side))
    assert float(y) == pytest.approx(3 - 0.25 * float(side))


@pytest.mark.parametrize(
    ("size", "faces"),
    [
        ((64, 64), []),
        ((64, 64), [(16, 16, 32)]),
        ((128, 96), [(40, 10, 10)]),
        ((128, 96), [(4, 4, 20), (60, 70, 24)]),
        ((90, 200), [(10, 40, 24), (80, 30, 30), (160, 20, 16)]),
        ((600, 1000), [(300, 200, 90)]),
        ((600, 1000), [(100, 50, 300), (700, 400, 40)]),
    ],
    ids=["none", "portrait", "small", "two", "three", "large picture", "large and small"],
)
def test_faces_are_counted_and_placed(size, faces):
    picture = crowd(*size, *faces)
    found = find_faces(Seeing(), picture)
    assert len(found) == len(faces)
    for face, (left, top, side) in zip(found, sorted(faces, key=lambda f: -f[2]), strict=True):
        slack = max(2.0, 0.08 * side)
        assert middle(face) == pytest.approx((left + side / 2, top + side / 2), abs=slack)
        assert face.side == pytest.approx(WINDOW * side, rel=0.2)
        assert face.box == pytest.approx((left, top, left + side, top + side), abs=2 * slack)
        assert face.mask.shape == size and face.confidence > 0.9
        true = torch.zeros(size)
        true[top : top + side, left : left + side] = 1
        shared = torch.minimum(face.mask, true).sum() / torch.maximum(face.mask, true).sum()
        assert shared > 0.6


def test_a_face_whose_window_leaves_the_picture():
    (face,) = find_faces(Seeing(), crowd(96, 96, (2, 3, 30)))
    assert face.window[0] < -8 and face.window[1] < -8
    assert middle(face) == pytest.approx((17, 18), abs=2)
    assert face.box == pytest.approx((2, 3, 32, 33), abs=3)
    assert face.mask.shape == (96, 96) and not face.mask[:, 40:].any()


def test_what_shows_too_little_of_its_window_is_no_face():
    class Covered(Seeing):
        """Of a face that fills a close-up, only a corner is seen."""

        def forward(self, picture):
            out = super().forward(picture)
            if picture.shape[-1] == picture.shape[-2] == 96:
                out[:, 0, :, 20:] = -6
            return out

    assert len(find_faces(Seeing(), crowd(128, 96, (30, 30, 24)))) == 1
    assert find_faces(Covered(), crowd(128, 96, (30, 30, 24))) == []


def test_what_a_closer_look_does_not_confirm_is_no_face():
    class Doubting(Seeing):
        """Sees no face in close-ups."""

        def forward(self, picture):
            out = super().forward(picture)
            if picture.shape[-1] == picture.shape[-2] == 64:
                out[:, 0] = -6
            return out

    assert find_faces(Doubting(), crowd(128, 96, (30, 30, 20))) == []


def test_specks_are_no_faces():
    assert find_faces(Seeing(), crowd(128, 96, (30, 30, 3), (60, 60, 2))) == []


def test_many_votes_are_thinned_out():
    picture = crowd(500, 500, (100, 100, 64))
    (face,) = find_faces(Seeing(), picture)
    assert middle(face) == pytest.approx((132, 132), abs=4)


def test_a_random_network_never_fails():
    torch.manual_seed(0)
    net = FaceFinder((8, 16, 24)).eval()
    with torch.no_grad():
        net.leave.weight.mul_(20)
    for size in ((40, 200), (64, 64), (33, 32)):
        for face in find_faces(net, F.interpolate(torch.rand(1, 3, 4, 4), size)[0].movedim(0, -1)):
            assert face.mask.shape == size and 0 <= face.confidence <= 1
