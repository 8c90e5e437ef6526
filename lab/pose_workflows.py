"""Workflows of pose alignment and pose guidance on mannequin-tiny."""

from pathlib import Path

from .graph import Lane, Node, Wire, Workflow
from .workflow_parts import (
    DECODED,
    LATENT,
    MODEL,
    NEGATIVE,
    POSITIVE,
    RESULTS,
    SAMPLING,
    TOLD,
    VAE,
    Column,
    attention,
    conditioning,
    decode,
    encode,
    load,
    main_line,
    person_model,
    sample,
    save,
    told,
)

INPUTS = Path(__file__).resolve().parents[1] / "workflows" / "inputs"
TINY, SIZE = "mannequin-tiny.safetensors", (96, 128)
TINY_ALIGNER, TINY_POSE = "mannequin-tiny-aligner.safetensors", "mannequin-tiny-pose.safetensors"
STEPS, CFG, SEED = 12, 1.5, 7
REFERENCE = "Encode reference"
ALIGNER, GUIDANCE, TARGET = "Recurrent pose aligner", "Pose guidance", "Target keypoints"
ALIGNMENT, CHECK, REPORT = "Alignment preview", "Pose check", "Guidance preview"
KEYPOINTS, CHANGES = (TARGET, "keypoints"), (GUIDANCE, "guidance")
ALIGNED, FLOW = (ALIGNER, "model"), (ALIGNER, "flow")
DETAIL = "Flow detail transfer"

PEOPLE = """
**Load reference**: the person. **Load reference dense pose**: the pose in that picture.
"""
DENSE_POSES = """
**Dense poses** say which part of the body every pixel shows. This model wants its own kind: red =
10 x part index, green and blue = coordinates on the body, lossless PNG.
"""
JOINTS = """
*Target keypoints*: the joints of the target as OpenPose or DWPose saves them, pasted as text. Or
take the node out and connect a pose finder's POSE_KEYPOINT.
"""
MINIATURE = """
mannequin-tiny is a miniature for 96 x 128 pictures of rendered people; its aligner and pose model
know no other model.
"""


def people(poses: str) -> Column:
    """The person and the dense pose or poses to paint."""
    return {
        "1  Person": [
            load("Load reference", "person_a.png"),
            load("Load reference dense pose", "person_a_dense_pose.png"),
        ],
        "1  Pose": [load("Load target pose", poses)],
    }


def keypoints(name: str) -> Node:
    """The joints of an example input as text."""
    text = (INPUTS / f"{name}.json").read_text(encoding="utf-8").strip()
    width, height = SIZE
    inputs = {"keypoint_json": text, "width": width, "height": height}
    return Node("MannequinPoseKeypoints", TARGET, inputs)


def told_to_the_model() -> Column:
    return {
        TOLD: [
            encode(REFERENCE, "Load reference", "Load reference dense pose"),
            conditioning(dense_pose=("Load target pose", "IMAGE")),
        ]
    }


def align() -> Column:
    inputs = {
        "model": MODEL,
        "reference": (REFERENCE, "reference"),
        "positive": POSITIVE,
        "aligner": TINY_ALIGNER,
        "iterations": 3,
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "reference_run": "every step",
        "record_flow": True,
    }
    return {SAMPLING: [Node("MannequinRecurrentPoseAligner", ALIGNER, inputs)]}


def guide(model: Wire) -> Column:
    inputs = {
        "model": model,
        "pose_model": TINY_POSE,
        "target": KEYPOINTS,
        "person": 1,
        "scale": 1.0,
        "field_weight": 0.01,
        "keypoint_weight": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    return {SAMPLING: [Node("MannequinPoseGuidance", GUIDANCE, inputs)]}


def painted(model: Wire) -> tuple[Column, Column]:
    line = (POSITIVE, NEGATIVE, LATENT, "simple", model)
    return sample(STEPS, CFG, SEED, *line), decode()


def alignment_preview() -> Node:
    inputs = {
        "alignment": (ALIGNER, "alignment"),
        "image": DECODED,
        "reference": (REFERENCE, "reference"),
    }
    return Node("MannequinAlignmentPreview", ALIGNMENT, inputs)


def guidance_preview() -> Node:
    inputs = {"guidance": CHANGES, "image": DECODED}
    return Node("MannequinGuidancePreview", REPORT, inputs)


def check() -> Node:
    inputs = {
        "image": DECODED,
        "target": KEYPOINTS,
        "person": 1,
        "threshold": 0.05,
        "confidence": 0.3,
        "pose_model": TINY_POSE,
        "vae": VAE,
    }
    return Node("MannequinPoseCheck", CHECK, inputs)


def tops(*line: str, **results: int) -> dict[str, int]:
    """line: further nodes of the main line. results: heights of the last column's nodes."""
    return {
        **main_line(*line),
        "Load person model": 560,
        REFERENCE: 300,
        "Person conditioning": 920,
        **{title.replace("_", " "): y for title, y in results.items()},
    }


def pose_transfer_aligned() -> Workflow:
    """One person, one picture, a new pose, to which the picture is aligned first."""
    detail = {
        "image": DECODED,
        "flow": FLOW,
        "reference": (REFERENCE, "reference"),
        "strength": 1.0,
        "threshold": 0.1,
    }
    return Workflow(
        "pose_transfer_aligned",
        [
            people("person_a_target_pose.png"),
            person_model(TINY),
            told_to_the_model(),
            align(),
            *painted(ALIGNED),
            {"5  Detail from the reference": [Node("MannequinFlowDetailTransfer", DETAIL, detail)]},
            {
                RESULTS: [
                    alignment_preview(),
                    save("Save with detail", (DETAIL, "image"), "pose_transfer_aligned_detail"),
                    save("Save result", DECODED, "pose_transfer_aligned"),
                ]
            },
        ],
        f"""## Pose transfer, aligned

A person from one picture, in the pose of another; the picture is aligned to the pose first.
{PEOPLE}**Load target pose**: the pose to paint.
{DENSE_POSES}
**Then** press Run. *Alignment preview* shows the person after each of the aligner's `iterations`,
and how sure it was. Torn patterns: fewer iterations; 0 is pose transfer without the aligner.
{MINIATURE}""",
        tops(ALIGNER, DETAIL, Alignment_preview=60, Save_with_detail=490, Save_result=920),
        (
            Lane(MODEL, 604, (ALIGNER,)),
            Lane(VAE, 860, ("Decode",)),
            *told(884, 908, 932),
            Lane((REFERENCE, "reference"), 185, (DETAIL, ALIGNMENT)),
            Lane(FLOW, 155, (DETAIL,)),
            Lane((ALIGNER, "alignment"), 125, (ALIGNMENT,)),
            Lane(DECODED, 560, ("Save result",)),
            Lane(DECODED, 215, (ALIGNMENT,)),
        ),
    )


def pose_guidance() -> Workflow:
    """A new pose, towards whose joints the sampling is pulled."""
    first = people("person_a_target_pose.png")
    first["1  Pose"].append(keypoints("person_a_target_pose"))
    return Workflow(
        "pose_guidance",
        [
            first,
            person_model(TINY),
            told_to_the_model(),
            attention(REFERENCE),
            guide(("Flow-guided attention", "model")),
            *painted((GUIDANCE, "model")),
            {RESULTS: [guidance_preview(), check(), save("Save result", DECODED, "pose_guidance")]},
        ],
        f"""## Pose guidance

A person in a new pose; after every step the sampling is pulled towards the joints of the target.
{PEOPLE}**Load target pose**: the pose to paint, as well as it is known.
{JOINTS}{DENSE_POSES}
**Then** press Run. *Pose check* says how far the joints are off, *Guidance preview* what was done
in each step. `scale` says how hard is pulled: 0 is as if the node were not there, too much tears
limbs apart.
{MINIATURE}""",
        tops(GUIDANCE, Guidance_preview=60, Pose_check=490, Save_result=990),
        (
            Lane(MODEL, 604, ("Flow-guided attention",)),
            Lane(VAE, 860, ("Decode", CHECK)),
            *told(884, 908, 932),
            Lane(KEYPOINTS, 1130, (GUIDANCE, CHECK)),
            Lane(CHANGES, 155, (REPORT,)),
        ),
    )


def pose_sheet() -> Workflow:
    """One person in nine poses, in one batch."""
    first = people("person_a_nine_poses.png")
    first["1  Pose"].append(keypoints("person_a_nine_poses"))
    return Workflow(
        "pose_sheet",
        [
            first,
            person_model(TINY),
            told_to_the_model(),
            align(),
            guide(ALIGNED),
            *painted((GUIDANCE, "model")),
            {
                RESULTS: [
                    alignment_preview(),
                    guidance_preview(),
                    check(),
                    save("Save result", DECODED, "pose_sheet"),
                ]
            },
        ],
        f"""## Pose sheet

One person in nine poses, in one batch, with alignment and guidance.
{PEOPLE}**Load target pose**: an animated PNG, whose frames are the dense poses of the batch, or
single pictures joined by Batch Images. As many frames in *Target keypoints*.
{JOINTS}{DENSE_POSES}
**Then** press Run. *Pose check* draws the nine results with the joints that were asked for.
{MINIATURE}""",
        tops(
            ALIGNER,
            GUIDANCE,
            Alignment_preview=60,
            Guidance_preview=490,
            Pose_check=920,
            Save_result=1410,
        ),
        (
            Lane(MODEL, 604, (ALIGNER,)),
            Lane(VAE, 860, ("Decode", CHECK)),
            *told(884, 908, 932),
            Lane(KEYPOINTS, 1130, (GUIDANCE, CHECK)),
            Lane((REFERENCE, "reference"), 185, (ALIGNMENT,)),
            Lane((ALIGNER, "alignment"), 125, (ALIGNMENT,)),
            Lane(CHANGES, 155, (REPORT,)),
        ),
    )


POSE_WORKFLOWS = (pose_transfer_aligned, pose_guidance, pose_sheet)
