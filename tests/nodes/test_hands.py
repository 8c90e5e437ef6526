"""The hand nodes on the embedded engine, with random weights."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mannequin.headless import folders
from mannequin.hosts import diffusers
from mannequin.hosts.pose_branch import PoseNet, layers_of
from mannequin.lab.training import hands_random

NAME = "random-hands.safetensors"
H, W = 64, 48


@pytest.fixture(scope="module")
def hand_model(nodes, tmp_path_factory):
    """The name of a hand model with random weights that Hand Stage and Hand Repair list."""
    folder = tmp_path_factory.mktemp("hand-models")
    hands_random.build(0, folder / NAME)
    folders.add_model_folder_path("mannequin_hands", str(folder))
    return NAME


def keypoints(*places, side="left"):
    """Our JSON of hands with their wrists at these places."""
    hands = []
    for k, (x, y) in enumerate(places):
        points = [[x, y]] + [
            [x + (finger - 2) * 2.5 * joint / 2, y - 3 - 3 * joint]
            for finger in range(5)
            for joint in range(1, 5)
        ]
        hands.append({"side": (side, "right")[k % 2], "points": points})
    return json.dumps({"hands": hands})


@pytest.fixture
def poses(execute):
    def poses(text, image=None, **changes):
        options = {"width": W, "height": H, "size": 32, "padding": 0.35, "confidence": 0.3}
        return execute(
            "MannequinHandPose", **{**options, **changes}, keypoint_json=text, image=image
        )

    return poses


@pytest.fixture
def stage(execute, hand_model):
    def stage(hands, seed=0, **changes):
        options = {"hand_model": hand_model, "steps": 2, "guidance": 1.5, "skin": ""}
        return execute("MannequinHandStage", hands=hands, seed=seed, **{**options, **changes})

    return stage


@pytest.fixture
def blend(execute):
    def blend(model, hands, images, masks, **changes):
        options = {"grow": 8.0, "curve": "smooth", "stop_percent": 0.7, "border": 2.0}
        options |= {"model": model, "hands": hands, "images": images, "masks": masks, **changes}
        return execute("MannequinOutpaintBlender", **options)

    return blend


@pytest.fixture
def repair(execute, hand_model):
    def repair(image, hands, **changes):
        options = {"seed": 0, "steps": 1, "guidance": 1.0, "reach": 0.12, "feather": 2}
        options |= {"image": image, "hands": hands, "hand_model": hand_model, **changes}
        return execute("MannequinHandRepair", **options)

    return repair


@pytest.fixture
def paint(execute, inpaint_parts):
    """paint(model, image, mask): the latent that KSampler makes of them, and its noise mask."""
    _, clip, vae = inpaint_parts

    def paint(model, image, mask):
        text = execute("CLIPTextEncode", clip=clip, text="a woman")[0]
        positive, negative, latent = execute(
            "InpaintModelConditioning",
            positive=text,
            negative=text,
            vae=vae,
            pixels=image,
            mask=mask,
            noise_mask=True,
        )
        made = execute(
            "KSampler",
            model=model,
            seed=1,
            steps=4,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            positive=positive,
            negative=negative,
            latent_image=latent,
            denoise=1.0,
        )[0]
        return made["samples"], latent

    return paint


def test_hand_pose_gives_a_close_up_and_a_drawing_for_each_hand(poses):
    picture = torch.rand(1, H, W, 3)
    hands, maps, crops, drawing = poses(keypoints((16, 40), (36, 60)), picture)
    assert [hand.left for hand in hands.hands] == [True, False]
    assert maps.shape == crops.shape == (2, 32, 32, 3) and drawing.shape == (1, H, W, 3)
    assert maps.any() and drawing.any()
    _, _, drawn, _ = poses(keypoints((16, 40)))
    assert drawn.any() and drawn.shape == (1, 32, 32, 3)


def test_hand_pose_takes_a_pose_finders_output(execute):
    points = [n for k in range(21) for n in (10 + k, 20 + k % 5 * 4, 0.9)]
    frame = {"people": [{"hand_right_keypoints_2d": points}], "canvas_width": W}
    hands = execute(
        "MannequinHandPose",
        width=W,
        height=H,
        size=16,
        padding=0.35,
        confidence=0.3,
        keypoints=[{**frame, "canvas_height": H}],
    )[0]
    assert len(hands.hands) == 1 and not hands.hands[0].left


def test_hand_pose_wants_exactly_one_source(execute, poses):
    with pytest.raises(ValueError, match="got neither"):
        poses("  ")
    options = {"width": W, "height": H, "size": 16, "padding": 0.35, "confidence": 0.3}
    with pytest.raises(ValueError, match="got both"):
        execute("MannequinHandPose", **options, keypoints=[], keypoint_json='{"hands": []}')


def test_no_hand_is_a_no_op_all_the_way(poses, stage, blend, repair, paint, inpaint_parts):
    hands, maps, crops, _ = poses('{"hands": []}')
    assert maps.shape == crops.shape == (1, 32, 32, 3) and not maps.any()
    images, masks, latents = stage(hands)
    assert images.shape == (1, 64, 64, 3) and len(masks) == len(latents["samples"]) == 1
    model, image, mask, strip = blend(inpaint_parts[0], hands, images, masks)
    assert model is inpaint_parts[0]
    assert (image == 0.5).all() and (mask == 1).all() and strip.shape == (1, H, 6 * W, 3)
    picture = torch.rand(1, H, W, 3)
    repaired, where, close_ups = repair(picture, hands)
    assert torch.equal(repaired, picture) and not where.any() and close_ups.shape[0] == 1


def test_hand_stage_gives_hands_masks_and_latents(poses, stage, inpaint_parts):
    hands = poses(keypoints((16, 40), (36, 60)))[0]
    images, masks, latents = stage(hands)
    assert images.shape == (2, 64, 64, 3) and masks.shape == (2, 64, 64)
    assert latents["samples"].shape == (2, 12, 16, 16)
    assert torch.equal(images, stage(hands)[0])
    assert not torch.equal(images, stage(hands, seed=1)[0])
    assert not torch.equal(images, stage(hands, skin="#c58c6a")[0])
    vae = inpaint_parts[2]
    torch.testing.assert_close(stage(hands, vae=vae)[2]["samples"], vae.encode(images))


@pytest.mark.parametrize("skin", ["red", "#12345", "#12345g", "#1234567"])
def test_a_colour_that_is_none_is_told(poses, stage, skin):
    with pytest.raises(ValueError, match="colour as #rrggbb"):
        stage(poses(keypoints((16, 40)))[0], skin=skin)


def full(hands):
    """Close-ups and masks that a trained stage could have made."""
    masks = torch.zeros(len(hands.hands), 64, 64)
    masks[:, 12:52, 12:52] = 1
    pictures = torch.rand(len(masks), 64, 64, 3, generator=torch.Generator().manual_seed(4))
    return pictures * 0.2 + 0.6, masks


def test_the_body_is_painted_around_hands_that_stay(poses, blend, paint, inpaint_parts):
    hands = poses(keypoints((24, 44)))[0]
    model, image, mask, _ = blend(inpaint_parts[0], hands, *full(hands))
    samples, latent = paint(model, image, mask)
    cells = torch.nn.functional.interpolate(1 - mask[:, None], samples.shape[-2:], mode="area")
    core = (-torch.nn.functional.max_pool2d(-cells, 3, 1, 1) == 1).expand_as(samples)
    assert core.any()
    torch.testing.assert_close(samples[core], latent["samples"][core], atol=1e-5, rtol=0)
    free = (cells == 0).expand_as(samples)
    assert not torch.isclose(samples[free], latent["samples"][free]).all()


def test_without_growth_and_border_the_blender_is_plain_blending(
    poses, blend, paint, inpaint_parts
):
    hands = poses(keypoints((24, 44)))[0]
    painted = full(hands)
    model, image, mask, _ = blend(inpaint_parts[0], hands, *painted, grow=0.0, border=0.0)
    plain, _ = paint(inpaint_parts[0], image, mask)
    assert torch.equal(paint(model, image, mask)[0], plain)
    model, image, mask, _ = blend(inpaint_parts[0], hands, *painted)
    growing, _ = paint(model, image, mask)
    plain, _ = paint(inpaint_parts[0], image, mask)
    assert not torch.equal(growing, plain)


def test_the_canvas_is_kept_under_the_hands(poses, blend, inpaint_parts):
    canvas = torch.rand(1, H, W, 3)
    hands = poses(keypoints((24, 44)), canvas)[0]
    _, image, mask, _ = blend(inpaint_parts[0], hands, *full(hands), canvas=canvas, grow=0.0)
    assert torch.equal(image[mask == 1], canvas[mask == 1]) and (mask == 0).any()
    with pytest.raises(ValueError, match="pixels, as the hands"):
        blend(inpaint_parts[0], hands, *full(hands), canvas=torch.rand(1, H, W + 8, 3))


def test_a_pose_branch_lets_the_model_see_the_skeletons(
    nodes, poses, blend, paint, inpaint_parts, tmp_path
):
    net = {"layers": layers_of(diffusers.cross_attention_weights(inpaint_parts[0]))}
    net |= {"widths": [8, 8, 8], "patch": 4}
    torch.manual_seed(0)
    made = {f"branch.{k}": torch.randn_like(t) / 4 for k, t in PoseNet(**net).state_dict().items()}
    config = {"family": "mannequin-tiny-pose-branch", "net": net}
    save_file(made, tmp_path / "branch.safetensors", {"mannequin": json.dumps(config)})
    folders.add_model_folder_path("mannequin_branches", str(tmp_path))
    hands = poses(keypoints((24, 44)))[0]
    painted = full(hands)
    results = []
    for options in (
        {},
        {"pose_branch": "branch.safetensors", "pose_strength": 0.0},
        {"pose_branch": "branch.safetensors"},
    ):
        model, image, mask, _ = blend(inpaint_parts[0], hands, *painted, **options)
        results.append(paint(model, image, mask)[0])
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_repair_paints_inside_its_masks_only(poses, repair):
    picture = torch.rand(1, H, W, 3)
    hands = poses(keypoints((14, 40), (34, 60)), picture)[0]
    image, mask, close_ups = repair(picture, hands)
    assert close_ups.shape == (2, 64, 64, 3) and 0 < mask.mean() < 1
    assert torch.equal(image[mask == 0], picture[mask == 0])
    assert not torch.isclose(image[mask == 1], picture[mask == 1]).all()
    assert torch.equal(image, repair(picture, hands)[0])


def test_repair_of_overlapping_cut_and_batched_hands(poses, repair):
    picture = torch.rand(1, H, W, 3)
    for places in ([(24, 40), (26, 42)], [(1, 40)], [(47, 63)]):
        hands = poses(keypoints(*places), picture)[0]
        image, mask, _ = repair(picture, hands)
        assert mask.any() and torch.equal(image[mask == 0], picture[mask == 0])
    frames = [json.loads(keypoints((24, 40))), {"hands": []}]
    batch = torch.rand(2, H, W, 3)
    image, mask, _ = repair(batch, poses(json.dumps(frames), batch)[0])
    assert mask[0].any() and not mask[1].any() and torch.equal(image[1], batch[1])


def test_repair_with_a_mask_of_one_pixel_changes_no_more(poses, repair):
    picture = torch.rand(1, H, W, 3)
    hands = poses(keypoints((24, 40)), picture)[0]
    mask = torch.zeros(1, H, W)
    mask[0, 35, 24] = 1
    image, where, _ = repair(picture, hands, mask=mask)
    assert torch.equal(where, mask)
    assert (image != picture).any(-1).nonzero().tolist() in ([], [[0, 35, 24]])


def test_a_left_hand_given_as_right_runs_and_differs(poses, repair):
    picture = torch.rand(1, H, W, 3)
    left, right = (
        repair(picture, poses(keypoints((24, 40), side=side), picture)[0])[0]
        for side in ("left", "right")
    )
    assert torch.isfinite(left).all() and not torch.equal(left, right)


def test_what_does_not_match_is_told(poses, repair, blend, inpaint_parts):
    picture = torch.rand(1, H, W, 3)
    hands = poses(keypoints((14, 40), (34, 60)), picture)[0]
    with pytest.raises(ValueError, match="mask for each of 2 hand"):
        repair(picture, hands, mask=torch.ones(3, H, W))
    with pytest.raises(ValueError, match=r"1 picture\(s\) of 48x64 pixels, as the hands"):
        repair(torch.rand(1, H, W + 16, 3), hands)
    with pytest.raises(ValueError, match=r"picture and a mask for each of 2 hand"):
        blend(inpaint_parts[0], hands, torch.rand(1, 64, 64, 3), torch.ones(1, 64, 64))
