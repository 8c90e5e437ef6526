"""Rendered sets: the truth that comes with the pictures is the truth."""

import numpy as np
import pytest

pytest.importorskip("anny")
pytest.importorskip("embreex")

from mannequin.lab.people import examples, render_set
from mannequin.lab.people.body import HAND_L, HAND_R, load_body
from mannequin.lab.people.dress import dress
from mannequin.lab.people.paint import LEFT_HAND, RIGHT_HAND, TOP
from mannequin.lab.people.recipe import recipe_of
from mannequin.lab.people.render import take_picture
from mannequin.lab.people.sets import stage
from mannequin.lab.people.shape import rest_shape
from mannequin.lab.people.sheet import warp
from mannequin.lab.people.truth import flow_between

HEIGHT, WIDTH = 128, 96
FIELDS = ("image", "dense_pose", "label", "keypoints", "hands", "flow", "visible")


@pytest.fixture(scope="module")
def sets():
    return [render_set(seed, "heldout", HEIGHT, WIDTH) for seed in (900, 901, 902)]


@pytest.fixture(scope="module")
def with_crops():
    return render_set(900, "heldout", HEIGHT, WIDTH, crops=True)


def own_pairs(person):
    return [(k, s, t) for k, (s, t) in enumerate(person.pairs.tolist()) if 3 not in (s, t)]


def squared_error(a, b, where):
    return ((a.astype(float) - b) ** 2)[where].mean()


def psnr(errors):
    return 10 * np.log10(255**2 / np.mean(errors))


def test_the_same_seed_renders_the_same_bits(sets, with_crops):
    again = render_set(901, "heldout", HEIGHT, WIDTH)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(sets[1], name))
    for name in ("image", "dense_pose", "label"):
        np.testing.assert_array_equal(getattr(with_crops, name), getattr(sets[0], name))


def test_shapes_and_types(sets):
    person = sets[0]
    assert person.image.shape == person.dense_pose.shape == (4, HEIGHT, WIDTH, 3)
    assert person.image.dtype == person.dense_pose.dtype == person.label.dtype == np.uint8
    assert person.keypoints.shape == (4, 18, 3)
    assert person.hands.shape == (4, 2, 21, 3)
    assert person.flow.shape == (12, HEIGHT, WIDTH, 2)
    assert person.flow.dtype == np.float32
    assert sorted(person.pairs.tolist()) == [[s, t] for s in range(4) for t in range(4) if s != t]


def test_flow_fetches_the_target_from_the_source(sets):
    warped, copied, shifted = [], [], []
    pixel = np.array([2 / WIDTH, 2 / HEIGHT], np.float32)
    for person in sets:
        for k, s, t in own_pairs(person):
            seen, source, target = person.visible[k], person.image[s], person.image[t]
            warped.append(squared_error(warp(source, person.flow[k]), target, seen))
            shifted.append(squared_error(warp(source, person.flow[k] + pixel), target, seen))
            copied.append(squared_error(source, target, seen))
    assert psnr(warped) > 18
    assert psnr(warped) > psnr(copied) + 5
    assert psnr(warped) > psnr(shifted) + 1


def test_flow_between_two_people_fetches_the_top(sets):
    warped, copied = [], []
    for person in sets:
        for k, (s, t) in enumerate(person.pairs.tolist()):
            on_top = person.visible[k] & (person.label[t] == TOP)
            if 3 in (s, t) and on_top.sum() > 50:
                source, target = person.image[s], person.image[t]
                warped.append(squared_error(warp(source, person.flow[k]), target, on_top))
                copied.append(squared_error(source, target, on_top))
    assert psnr(warped) > psnr(copied) + 4


def test_flow_of_a_picture_to_itself_is_the_identity():
    recipe, body = recipe_of(900, "heldout"), load_body()
    scene = stage(recipe, 0, dress(body, recipe.people[0], recipe.outfits[0]), HEIGHT, WIDTH)
    surface = take_picture(scene, (0, 0, WIDTH, HEIGHT), HEIGHT, WIDTH).surface
    flow, visible = flow_between(surface, surface, scene)
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    identity = np.stack([(2 * column + 1) / WIDTH - 1, (2 * row + 1) / HEIGHT - 1], -1)
    known = np.isfinite(flow[..., 0])
    assert np.abs(flow - identity)[known].max() < 1e-4
    np.testing.assert_array_equal(visible, surface.triangle >= 0)


def test_half_resolution_flow_lies_between_its_four_pixels(sets):
    half = render_set(900, "heldout", HEIGHT, WIDTH, half_flow=True)
    blocks = sets[0].flow.reshape(12, HEIGHT // 2, 2, WIDTH // 2, 2, 2)
    off = np.abs(blocks.mean((2, 4)) - half.flow) * [WIDTH / 2, HEIGHT / 2]
    assert np.nanmedian(off) < 0.05
    assert np.nanpercentile(off, 90) < 0.5


def test_visible_points_show_the_same_part_in_the_source(sets):
    agree, hidden_agree = [], []
    for person in sets:
        for k, s, t in own_pairs(person):
            part = person.dense_pose[..., 0]
            fetched = np.nan_to_num(person.flow[k], nan=9)
            inside = (np.abs(fetched) < 1).all(-1)
            column = np.clip((fetched[..., 0] + 1) * WIDTH / 2, 0, WIDTH - 1).astype(int)
            row = np.clip((fetched[..., 1] + 1) * HEIGHT / 2, 0, HEIGHT - 1).astype(int)
            same = part[s][row, column] == part[t]
            agree.append(same[person.visible[k]].mean())
            hidden = inside & ~person.visible[k] & (part[t] > 0)
            if hidden.sum() > 30:
                hidden_agree.append(same[hidden].mean())
    assert np.mean(agree) > 0.92
    assert np.mean(hidden_agree) < 0.7


def test_visible_implies_flow_inside_the_source(sets):
    for person in sets:
        assert (np.abs(person.flow[person.visible]) <= 1).all()
        assert 0.3 < person.visible.sum() / np.isfinite(person.flow[..., 0]).sum() < 1


def test_dense_pose_and_labels_agree(sets):
    for person in sets:
        level = person.dense_pose[..., 0]
        assert (level % 10 == 0).all()
        assert level.max() <= 160
        np.testing.assert_array_equal(level == 0, person.label == 0)
        assert (person.dense_pose[level == 0] == 0).all()
        assert (level[person.label == LEFT_HAND] == 10 * HAND_L).all()
        assert (level[person.label == RIGHT_HAND] == 10 * HAND_R).all()


def test_dense_pose_is_continuous_within_the_torso(sets):
    for iuv in sets[0].dense_pose.astype(int):
        torso = (iuv[:, 1:, 0] == 10) & (iuv[:, :-1, 0] == 10)
        step = np.abs(np.diff(iuv[..., 1:], axis=1)).max(-1)[torso]
        assert np.mean(step <= 8) > 0.97


def test_visible_joints_lie_on_the_person(sets):
    count = 0
    for person in sets:
        for k in range(4):
            joints = np.concatenate([person.keypoints[k], *person.hands[k]])
            for x, y, seen in joints:
                if seen:
                    assert person.label[k, int(y), int(x)] > 0
                    count += 1
    assert count > 200


def test_sides_are_the_persons_own(sets):
    left_wrist, right_wrist = 7, 4
    for person in sets:
        wrists = person.keypoints[:, [left_wrist, right_wrist], :2]
        np.testing.assert_allclose(person.hands[:, :, 0, :2], wrists, atol=6)
        shoulders = person.keypoints[:, [5, 2], 0]
        assert (shoulders[:, 0] > shoulders[:, 1]).all()


def test_crops_look_at_face_and_hands(with_crops):
    crops = with_crops.crops
    assert crops.image.shape == crops.dense_pose.shape == (4, 3, 64, 64, 3)
    assert ((crops.dense_pose[:, 0, ..., 0] == 140).mean((1, 2)) > 0.15).all()
    for c, side in ((1, 0), (2, 1)):
        points = crops.hands[:, c, side, :, :2]
        assert points.min() > 0
        assert points.max() < 64
        back = points / 64 * np.ptp(crops.window[:, c].reshape(4, 2, 2), 1)[:, None]
        back += crops.window[:, c, None, :2]
        np.testing.assert_allclose(back, with_crops.hands[:, side, :, :2], atol=0.01)


def test_another_top_changes_the_garment_only():
    seed, target = examples.TRY_ON["seed"], examples.TRY_ON["target"]
    wearing, before = render_set(seed, "heldout"), examples.before_try_on()
    same_place = (wearing.label[target] != TOP) & (before.label != TOP)
    skin = same_place & (wearing.label[target] == before.label)
    assert np.mean(wearing.image[target][skin] == before.image[skin]) > 0.95
    tops = (wearing.label[target] == TOP) & (before.label == TOP)
    assert np.abs(wearing.image[target][tops].astype(int) - before.image[tops]).mean() > 30


@pytest.mark.parametrize("size", [(0, 96), (128, 15), (128, 5000), (128.0, 96)])
def test_impossible_sizes_are_named(size):
    with pytest.raises(ValueError, match="must be a whole number of pixels from 16 to 2048"):
        render_set(0, "train", *size)


def test_unknown_body_sliders_are_named():
    with pytest.raises(KeyError, match="no local change named 'wings-incr'"):
        rest_shape(load_body(), {}, {"wings-incr": 1.0}, {})
