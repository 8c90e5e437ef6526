"""Workflows of hands: painted first with a body around them, and painted anew in a picture."""

from pathlib import Path
from typing import Any

from .graph import Lane, Node, Wire, Workflow
from .inpaint_workflows import LOADER, MODEL, TINY_INPAINT, TOLD_OF, VAE, prompt
from .workflow_parts import (
    DECODED,
    RESULTS,
    ROW,
    TOLD,
    decode,
    load,
    sample,
    save,
)

INPUTS = Path(__file__).resolve().parents[1] / "workflows" / "inputs"
TINY_HANDS = "mannequin-tiny-hands.safetensors"
TINY_BRANCH = "mannequin-tiny-pose-branch.safetensors"
SIZE, CLOSE_UP = (96, 128), 64
STEPS, CFG, SEED = 20, 2.0, 7
HAND_STEPS, HAND_GUIDANCE = 4, 1.5
POSE, STAGE, REPAIR, BLENDER = "Hand pose", "Hand stage", "Hand repair", "Outpaint blender"
HANDS, CROPS = (POSE, "hands"), (POSE, "crops")
BLENDED, STRIP = (BLENDER, "model"), (BLENDER, "filmstrip")
WANTED, UNWANTED = "What to paint", "What not to paint"
BEFORE, AFTER, KEPT = "Close-ups before", "Close-ups after", "What is kept"
WHO = (
    "an older muscular woman, short grey hair, very light skin, a fitted pink, horizontal stripes "
    "top with square neck, short sleeves, the print ring, pink trousers, head to thigh"
)
SKIN = "#bd9988"

POINTS = """
*Hand pose*: the points of the hands as OpenPose or DWPose saves them, pasted as text. Or empty the
text and connect a pose finder's POSE_KEYPOINT, with hands switched on.
"""
MINIATURE = """
mannequin-tiny-hands is a miniature: it paints rendered hands of 64 x 64 pixels, not photographs.
"""


def hand_pose(**more: Wire) -> Node:
    """The points of the example person's body and hands as text. more: image."""
    width, height = SIZE
    text = (INPUTS / "person_c_hands.json").read_text(encoding="utf-8").strip()
    inputs: dict[str, Any] = {"width": width, "height": height, "size": CLOSE_UP}
    inputs |= {"padding": 0.35, "confidence": 0.3, "keypoint_json": text, **more}
    return Node("MannequinHandPose", POSE, inputs)


def generator() -> dict[str, Any]:
    """Which hand model paints, and how."""
    return {
        "hand_model": TINY_HANDS,
        "seed": SEED,
        "steps": HAND_STEPS,
        "guidance": HAND_GUIDANCE,
    }


def hand_stage(skin: str = "") -> Node:
    return Node("MannequinHandStage", STAGE, {"hands": HANDS, **generator(), "skin": skin})


def blender(model: Wire, images: Wire, grow: float, branch: str, **more: Wire) -> Node:
    """more: canvas."""
    inputs = {
        "model": model,
        "hands": HANDS,
        "images": images,
        "masks": (STAGE, "masks"),
        "grow": grow,
        "curve": "smooth",
        "stop_percent": 0.7,
        "border": 2.0,
        "pose_branch": branch,
        "pose_strength": 1.0,
    }
    return Node("MannequinOutpaintBlender", BLENDER, {**inputs, **more})


def show(title: str, pictures: Wire) -> Node:
    return Node("PreviewImage", title, {"images": pictures})


def hands_then_body() -> Workflow:
    """Two hands first, then the person around them."""
    inputs = {
        "positive": (WANTED, "CONDITIONING"),
        "negative": (UNWANTED, "CONDITIONING"),
        "vae": VAE,
        "pixels": (BLENDER, "image"),
        "mask": (BLENDER, "mask"),
        "noise_mask": True,
    }
    line = ((TOLD_OF, output) for output in ("positive", "negative", "latent"))
    return Workflow(
        "hands_then_body",
        [
            {"1  Pose": [hand_pose()]},
            {
                "2  Hands first": [hand_stage(SKIN)],
                "2  Model": [
                    Node("MannequinLoadInpaintModel", LOADER, {"model_name": TINY_INPAINT})
                ],
            },
            {
                "3  The body around them": [blender(MODEL, (STAGE, "images"), 12.0, TINY_BRANCH)],
                TOLD: [prompt(WANTED, WHO), prompt(UNWANTED, "")],
            },
            {TOLD: [Node("InpaintModelConditioning", TOLD_OF, inputs)]},
            sample(STEPS, CFG, SEED, *line, "simple", BLENDED),
            decode(vae=VAE),
            {RESULTS: [show(KEPT, STRIP), save("Save result", DECODED, "hands_then_body")]},
        ],
        f"""## Hands first, then the body

Both hands are painted first, each in its own close-up, and then the person around them.
{POINTS}The body's points may be among them; the `pose_branch` of *Outpaint blender* reads both.

*Hand stage*: `skin` is the colour of the hands, the one that the words name.
*Outpaint blender*: around the hands `grow` pixels are kept at first, less and less with every
step; *What is kept* shows it, from the first step to the last. A halo around the hands: lower
`grow`.
**What to paint**: the person in words, as the captions that the model of **Load inpaint model** was
trained with say them.

**Then** press Run. Other hands: another `seed` in *Hand stage*.
{MINIATURE}For photographs wire an SD1.5 or SDXL inpainting checkpoint, set `pose_branch` to `none`
and give Hand Pose's `drawing` to a ControlNet.
""",
        {
            POSE: 60,
            STAGE: 60,
            LOADER: 560,
            BLENDER: 60,
            WANTED: 560,
            UNWANTED: 740,
            TOLD_OF: 560,
            "Sample": ROW,
            "Decode": ROW,
            KEPT: 60,
            "Save result": 490,
        },
        (
            Lane(HANDS, 420, (BLENDER,)),
            Lane(BLENDED, 444, ("Sample",)),
            Lane(STRIP, 200, (KEPT,)),
            Lane(VAE, 960, (TOLD_OF, "Decode")),
        ),
    )


def hand_repair() -> Workflow:
    """Both hands of a picture are painted anew; every other pixel stays."""
    picture = ("Load picture", "IMAGE")
    inputs = {"image": picture, "hands": HANDS, **generator(), "reach": 0.16, "feather": 2}
    return Workflow(
        "hand_repair",
        [
            {"1  Picture": [load(picture[0], "person_c_broken_hands.png")]},
            {"1  Pose": [hand_pose(image=picture)]},
            {"2  Hands": [Node("MannequinHandRepair", REPAIR, inputs)]},
            {
                RESULTS: [
                    show(BEFORE, CROPS),
                    show(AFTER, (REPAIR, "close_ups")),
                    save("Save result", (REPAIR, "image"), "hand_repair"),
                ]
            },
        ],
        f"""## Hand repair

All hands of a picture are painted anew in one run. Every pixel further from their bones than
`reach` stays, bit by bit.

**Load picture**: of any size; the closer a hand's close-up is to 64 x 64 pixels, the better.
{POINTS}Pose finders are confused by malformed hands: take the points from a picture with good
hands in that pose, or move them by hand.

**Then** press Run, and compare the close-ups. Old fingers stay beside the new ones: raise `reach`,
or connect masks to `mask`, one for each hand. Another `seed` paints other hands.
{MINIATURE}""",
        {POSE: 60, REPAIR: 60, BEFORE: 60, AFTER: 490, "Save result": 920},
        (Lane(picture, 480, (REPAIR,)), Lane(CROPS, 440, (BEFORE,))),
    )


HAND_WORKFLOWS = (hands_then_body, hand_repair)
