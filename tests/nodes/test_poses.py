"""The pose nodes on the embedded engine, with random weights."""

import json
from itertools import pairwise

import pytest
import torch

H, W = 64, 48


def body(x=24.0, y=8.0, size=50.0):
    """An upright person's 18 points, flat, all known."""
    places = [
        *((0, 0.05), (0, 0.18), (-0.15, 0.2), (-0.2, 0.35), (-0.22, 0.5)),
        *((0.15, 0.2), (0.2, 0.35), (0.22, 0.5)),
        *((-0.08, 0.52), (-0.08, 0.75), (-0.08, 1.0), (0.08, 0.52), (0.08, 0.75), (0.08, 1.0)),
        *((-0.02, 0.03), (0.02, 0.03), (-0.05, 0.04), (0.05, 0.04)),
    ]
    return [n for a, b in places for n in (x + a * size, y + b * size, 1.0)]


def frames(*bodies, canvas=(W, H)):
    named = dict(zip(("canvas_width", "canvas_height"), canvas, strict=True)) if canvas else {}
    return [{"people": [{"pose_keypoints_2d": one}], **named} for one in bodies]


@pytest.fixture(scope="module")
def told(nodes, person_model, make):
    """What a person model is told: reference, conditioning and latent."""
    model, vae = person_model

    def run(name, **inputs):
        with torch.inference_mode():
            return nodes[name].execute(model=model, vae=vae, **inputs).args

    def told(shift=5, batch=1):
        picture, pose = make.picture(1), make.dense_pose()
        reference = run("MannequinReferenceEncoder", image=picture, dense_pose=pose)[0]
        target = make.dense_pose(shift, batch)
        return reference, *run("MannequinPersonConditioning", dense_pose=target)[:3]

    return told


@pytest.fixture
def align(execute, aligner_file):
    def align(model, reference, positive, **changes):
        options = {"iterations": 2, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
        options |= {"reference_run": "every step", "record_flow": True, **changes}
        return execute(
            "MannequinRecurrentPoseAligner",
            model=model,
            reference=reference,
            positive=positive,
            aligner=aligner_file.name,
            **options,
        )

    return align


@pytest.fixture
def guide(execute, pose_model_file):
    def guide(model, target, **changes):
        options = {"person": 1, "scale": 1.0, "field_weight": 0.01, "keypoint_weight": 1.0}
        options |= {"start_percent": 0.0, "end_percent": 1.0, **changes}
        name = pose_model_file.name
        return execute(
            "MannequinPoseGuidance", model=model, pose_model=name, target=target, **options
        )

    return guide


@pytest.fixture
def look(execute):
    def look(model, reference, strength=1.0):
        return execute(
            "MannequinFlowGuidedAttention",
            model=model,
            reference=reference,
            strength=strength,
            start_percent=0.0,
            end_percent=1.0,
            record_flow=False,
        )[0]

    return look


@pytest.fixture
def paint(execute):
    def paint(model, positive, negative, latent, steps=3, cfg=1.5):
        return execute(
            "KSampler",
            model=model,
            seed=1,
            steps=steps,
            cfg=cfg,
            sampler_name="euler",
            scheduler="simple",
            positive=positive,
            negative=negative,
            latent_image=latent,
            denoise=1.0,
        )[0]["samples"]

    return paint


def test_keypoints_of_text_name_their_canvas_and_keep_the_hands(execute):
    hand = [n for k in range(21) for n in (10.0 + k, 20.0, 0.9)]
    text = frames(body(), canvas=None)
    text[0]["people"][0]["hand_left_keypoints_2d"] = hand
    keypoints, drawing = execute(
        "MannequinPoseKeypoints", keypoint_json=json.dumps(text[0]), width=W, height=H
    )
    assert keypoints == [{**text[0], "canvas_width": W, "canvas_height": H}]
    assert drawing.shape == (1, H, W, 3) and drawing.any()
    kept, drawing = execute(
        "MannequinPoseKeypoints",
        keypoint_json=json.dumps(frames(body(), body())),
        width=2 * W,
        height=2 * H,
    )
    assert kept == frames(body(), body()) and drawing.shape == (2, 2 * H, 2 * W, 3)
    with pytest.raises(ValueError, match="keypoints as JSON"):
        execute("MannequinPoseKeypoints", keypoint_json="", width=W, height=H)


def test_without_iterations_the_aligner_is_flow_guided_attention(
    person_model, told, align, look, paint
):
    reference, positive, negative, latent = told()
    plain = paint(look(person_model[0], reference), positive, negative, latent)
    none = align(person_model[0], reference, positive, iterations=0, record_flow=False)
    assert torch.equal(paint(none[0], positive, negative, latent), plain)
    two = paint(align(person_model[0], reference, positive)[0], positive, negative, latent)
    assert not torch.equal(two, plain)
    assert torch.equal(
        two, paint(align(person_model[0], reference, positive)[0], positive, negative, latent)
    )


def test_strength_zero_of_the_aligner_is_no_reference(person_model, told, align, look, paint):
    reference, positive, negative, latent = told()
    off = paint(look(person_model[0], reference, 0.0), positive, negative, latent)
    aligned = align(person_model[0], reference, positive, strength=0.0)[0]
    assert torch.equal(paint(aligned, positive, negative, latent), off)


def test_the_alignment_and_the_flow_are_shown_after_sampling(
    execute, person_model, told, align, paint, make
):
    reference, positive, negative, latent = told()
    model, alignment, flow = align(person_model[0], reference, positive, iterations=3)
    result = make.picture(2)
    with pytest.raises(ValueError, match="No alignment was made: run the sampler first"):
        execute("MannequinAlignmentPreview", alignment=alignment, image=result, reference=reference)
    paint(model, positive, negative, latent)
    (sheet,) = execute(
        "MannequinAlignmentPreview", alignment=alignment, image=result, reference=reference
    )
    assert sheet.shape == (1, 2 * H * 4, 4 * W * 4, 3)
    tiles = sheet.reshape(2, H * 4, 4, W * 4, 3)[:, 40:].transpose(1, 2)
    above = tiles[0]
    assert all(not torch.equal(a, b) for a, b in pairwise(above))
    (drawn,) = execute(
        "MannequinFlowPreview", flow=flow, image=result, reference=reference, mode="arrows"
    )
    assert drawn.std() > 0
    with pytest.raises(ValueError, match=r"belongs to 1 reference\(s\); got 2"):
        two = type(reference)(
            reference.images.repeat(2, 1, 1, 1), reference.latents, reference.dense_pose
        )
        execute("MannequinAlignmentPreview", alignment=alignment, image=result, reference=two)


def test_a_batch_of_poses_is_aligned_pose_by_pose(person_model, told, align, paint, make):
    reference, positive, _, latent = told(5, batch=2)
    concat = positive[0][1]["noise_concat"].clone()
    concat[1, 13:] = concat[1, 13:].roll(3, -1)
    both = [[positive[0][0], {"noise_concat": concat}]]
    alone = [[positive[0][0], {"noise_concat": concat[:1]}]]
    model, alignment, _ = align(person_model[0], reference, both)
    pair = paint(model, both, both, latent, cfg=1.0)
    assert alignment.flow.shape[1] == 2 and not torch.equal(*alignment.flow[-1])
    one = {"samples": latent["samples"][:1]}
    first = paint(align(person_model[0], reference, alone)[0], alone, alone, one, cfg=1.0)
    torch.testing.assert_close(pair[:1], first, atol=1e-4, rtol=0)


def test_an_aligner_of_another_model_and_a_text_are_refused(
    inpaint_parts, person_model, told, align, execute
):
    reference, positive, *_ = told()
    with pytest.raises(ValueError, match="No aligner was trained for this model"):
        align(inpaint_parts[0], reference, positive)
    text = execute("CLIPTextEncode", clip=inpaint_parts[1], text="a woman")[0]
    with pytest.raises(ValueError, match=r"41 channels beside the latent; got text alone"):
        align(person_model[0], reference, text)


def test_guidance_pulls_where_it_is_asked_and_scale_zero_is_off(
    person_model, told, look, guide, paint, execute, make
):
    reference, positive, negative, latent = told()
    model = look(person_model[0], reference)
    plain = paint(model, positive, negative, latent)
    off, _ = guide(model, frames(body()), scale=0.0)
    assert torch.equal(paint(off, positive, negative, latent), plain)
    pulled, report = guide(model, frames(body()))
    moved = paint(pulled, positive, negative, latent)
    assert moved.isfinite().all() and not torch.equal(moved, plain)
    assert [one.index for one in report.steps] == [0, 1, 2]
    elsewhere, _ = guide(model, frames(body(x=16)))
    assert not torch.equal(paint(elsewhere, positive, negative, latent), moved)
    drawn, text = execute("MannequinGuidancePreview", guidance=report, image=make.picture(2))
    assert drawn.shape == (1, 360, 640, 3) and len(text.splitlines()) >= 4


def test_a_target_in_any_unit_pulls_alike(person_model, told, look, guide, paint):
    reference, positive, negative, latent = told()
    model = look(person_model[0], reference)
    double = [n * (1 if k % 3 == 2 else 2) for k, n in enumerate(body())]
    share = [n / (1, W, H)[(k + 1) % 3] for k, n in enumerate(body())]
    first, *others = (
        paint(guide(model, target)[0], positive, negative, latent)
        for target in (
            frames(body()),
            frames(double, canvas=(2 * W, 2 * H)),
            frames(share, canvas=None),
        )
    )
    for other in others:
        torch.testing.assert_close(other, first, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="name their canvas"):
        guide(model, frames(body(), canvas=None))


def test_guidance_that_did_nothing_says_so(execute, person_model, guide, make):
    _, report = guide(person_model[0], frames(body()))
    _, text = execute("MannequinGuidancePreview", guidance=report, image=make.picture(2))
    assert "has not acted" in text


def test_guidance_refuses_other_models_and_other_numbers_of_poses(
    person_model, inpaint_parts, told, look, guide, paint
):
    with pytest.raises(ValueError, match="This pose model reads latents of mannequin-tiny"):
        guide(inpaint_parts[0], frames(body()))
    with pytest.raises(ValueError, match="body number 2 in picture 1"):
        guide(person_model[0], frames(body()), person=2)
    reference, positive, negative, latent = told(batch=2)
    model, _ = guide(look(person_model[0], reference), frames(body(), body(), body()))
    with pytest.raises(ValueError, match="3 target pose"):
        paint(model, positive, negative, latent)
