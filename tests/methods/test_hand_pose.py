import json
import math

import pytest
import torch

from mannequin.methods import hand_pose
from mannequin.methods.hand_pose import HandPoses, mirrored, read, window_of
from mannequin.methods.pose_maps import BODY, HAND, draw, thick


def open_hand(x=30.0, y=50.0, length=20.0):
    """A hand with spread fingers, wrist at (x, y): [21][x, y, 1]."""
    points = [[x, y, 1.0]]
    for finger in range(5):
        angle = math.radians(-150 + 30 * finger)
        for joint in range(1, 5):
            far = length * (0.4 + 0.15 * joint)
            points.append([x + far * math.cos(angle), y + far * math.sin(angle), 1.0])
    return points


def flat(points):
    return [n for point in points for n in point]


def frame(left=None, right=None, width=96, height=128):
    person = {"hand_left_keypoints_2d": left, "hand_right_keypoints_2d": right}
    return {"people": [person], "canvas_width": width, "canvas_height": height}


def test_hands_of_a_pose_finder_are_read_and_scaled():
    given = [frame(flat(open_hand()), flat(open_hand(60))), frame(None, flat(open_hand()))]
    poses = read(given, 256, 192)
    assert [(hand.left, hand.picture) for hand in poses.hands] == [
        (True, 0),
        (False, 0),
        (False, 1),
    ]
    assert poses.pictures == 2
    torch.testing.assert_close(poses.hands[0].points[0], torch.tensor([60.0, 100.0, 1.0]))
    assert read(json.dumps(given), 256, 192).hands[1].window == poses.hands[1].window


def test_shares_of_the_picture_are_known_by_their_size():
    shares = [[x / 96, y / 128, c] for x, y, c in open_hand()]
    poses = read(frame(flat(shares)), 256, 192)
    torch.testing.assert_close(poses.hands[0].points[0, :2], torch.tensor([60.0, 100.0]))


def test_our_own_json_names_the_side():
    given = {"hands": [{"side": "left", "points": [p[:2] for p in open_hand()]}]}
    (hand,) = read(json.dumps(given), 128, 96).hands
    assert hand.left and float(hand.points[:, 2].min()) == 1


@pytest.mark.parametrize("given", [{"people": []}, [], [frame()], {"hands": []}])
def test_no_hand_is_no_error(given):
    poses = read(given, 64, 64)
    assert poses.hands == ()
    assert poses.maps(32).shape == (0, 32, 32, 3)
    assert poses.crops(torch.zeros(1, 64, 64, 3), 16).shape == (0, 16, 16, 3)
    assert not poses.drawing().any()


@pytest.mark.parametrize(
    "given, words",
    [
        ("no json", "Expected keypoints as JSON"),
        ({"something": 1}, 'Expected frames with "people"'),
        (3, 'Expected frames with "people"'),
        (frame([1.0, 2.0, 1.0]), "Expected 21 points of a hand"),
        (frame(["a"] * 63), "points as numbers"),
        ({"hands": [{"points": []}]}, '"side": "left" or "right"'),
    ],
)
def test_what_is_no_hand_pose_is_told(given, words):
    with pytest.raises(ValueError, match=words):
        read(given, 64, 64)


def test_points_that_are_not_believed_are_not_known():
    points = open_hand()
    points[4][2] = 0.1
    (hand,) = read(frame(flat(points)), 128, 96, confidence=0.3).hands
    assert hand.points[4, 2] == 0 and (hand.points[:, 2] > 0).sum() == 20
    assert read(frame(flat([[x, y, 0.2] for x, y, _ in points])), 128, 96).hands == ()


def test_a_window_is_a_square_around_the_known_points():
    points = torch.tensor(open_hand(30, 50, 20))
    left, top, side = window_of(points)
    low, high = points[:, :2].amin(0), points[:, :2].amax(0)
    assert side == math.ceil(1.35 * float((high - low).max()))
    assert left < low[0] and top < low[1] and left + side > high[0] and top + side > high[1]
    assert window_of(points * torch.tensor([1.0, 1.0, 0.0])) is None
    near = points[:2] * 0.001
    assert window_of(torch.cat([near, near[:1].expand(19, 3) * 0]))[2] == hand_pose.SMALLEST


def test_a_hand_cut_by_the_frame_keeps_its_close_up():
    (hand,) = read(frame(flat(open_hand(2, 126))), 128, 96).hands
    left, top, side = hand.window
    assert left < 0 and top + side > 128 - 20
    poses = HandPoses((hand,), 128, 96)
    picture = torch.rand(1, 128, 96, 3)
    assert poses.crops(picture, 64).shape == (1, 64, 64, 3)
    assert poses.maps(64).any() and poses.drawing().any()


def test_points_move_into_the_close_up():
    (hand,) = read(frame(flat(open_hand())), 128, 96).hands
    inside = hand.inside(64)
    left, _, side = hand.window
    torch.testing.assert_close(inside[0, 0], (hand.points[0, 0] - left) * 64 / side)
    assert (inside[:, :2] > 0).all() and (inside[:, :2] < 64).all()


def test_a_drawing_has_coloured_bones_and_blue_dots_where_the_points_are():
    points = torch.tensor(open_hand(32, 50, 28))[None]
    picture = draw(points, HAND, 64, 64)[0]
    for x, y, _ in points[0].tolist():
        assert picture[int(y), int(x), 2] > 0.9 and picture[int(y), int(x), :2].max() < 0.1
    hidden = points.clone()
    hidden[0, 8, 2] = 0  # tip of the index finger
    less = draw(hidden, HAND, 64, 64)[0]
    x, y = points[0, 8, :2].long().tolist()
    assert not less[y, x].any()
    assert not draw(points * torch.tensor([1.0, 1.0, 0.0]), HAND, 64, 64).any()


def test_the_mirror_image_of_a_drawing_is_the_drawing_of_the_mirror_image():
    points = torch.tensor(open_hand(32, 50, 28))[None]
    turned = draw(mirrored(points, 64.0), HAND, 64, 64)
    torch.testing.assert_close(turned, draw(points, HAND, 64, 64).flip(2), atol=1e-5, rtol=0)


def test_regions_grow_with_their_reach_and_bodies_are_drawn():
    points = torch.tensor(open_hand(32, 50, 28))[None]
    small, large = (thick(points, HAND, 64, 64, reach) for reach in (2.0, 6.0))
    assert (large >= small).all() and large.sum() > small.sum() > 0
    body = torch.zeros(1, 18, 3)
    body[0, 1], body[0, 2] = torch.tensor([[32.0, 10, 1], [20.0, 12, 1]])
    picture = draw(body, BODY, 64, 64)[0]
    assert picture[11, 26, 0] > 0.5 and not picture[11, 26, 1:].any()  # neck to right shoulder
    assert not picture[40:].any()
