"""Workflows of mannequin-tiny: pose transfer and try-on, which run as they are."""

from .graph import Lane, Node, Wire, Workflow
from .workflow_parts import (
    DECODED,
    FLOW,
    LATENT,
    MODEL,
    NEGATIVE,
    POSITIVE,
    REPAINTED,
    RESULTS,
    TOLD,
    VAE,
    Column,
    attention,
    conditioning,
    decode,
    encode,
    load,
    load_mask,
    looked,
    main_line,
    paste,
    person_model,
    preview,
    sample,
    save,
    told,
)

STEPS, CFG, SEED = 2, 1.5, 7
TINY = "mannequin-tiny.safetensors"
RESULT_TOPS = {"Save with detail": 490, "Save result": 920}

DENSE_POSES = """
**Dense poses** say which part of the body every pixel shows. This model wants its own kind: red =
10 x part index, green and blue = coordinates on the body, lossless PNG. For a reference without one
load `no_dense_pose.png`.
"""
SETTINGS = """
**Then** press Run. *Flow preview* shows where every pixel was taken from. More `steps` in *Sample*
give cleaner pictures; *strength* of Flow-Guided Attention says how much the reference counts.

mannequin-tiny is a miniature for 96 x 128 pictures of rendered people. For photographs open
`leffa_pose_transfer` or `leffa_try_on`.
"""


def sampling(reference: str, detail_mask: Wire | None = None) -> list[Column]:
    """From the encoded reference to the decoded picture, and the detail of the reference on it."""
    detail = {
        "image": DECODED,
        "flow": FLOW,
        "reference": (reference, "reference"),
        "strength": 1.0,
        "threshold": 0.1,
    }
    if detail_mask is not None:
        detail["mask"] = detail_mask
    transfer = Node("MannequinFlowDetailTransfer", "Flow detail transfer", detail)
    return [
        attention(reference),
        sample(STEPS, CFG, SEED, POSITIVE, NEGATIVE, LATENT, "simple"),
        decode(),
        {"5  Detail from the reference": [transfer]},
    ]


def results(name: str, reference: str, result: Wire, detail: Wire) -> Column:
    return {
        RESULTS: [
            preview(reference),
            save("Save result", result, name),
            save("Save with detail", detail, f"{name}_detail"),
        ]
    }


def tops(**others: int) -> dict[str, int]:
    return {
        **main_line("Flow detail transfer"),
        "Person conditioning": 920,
        **RESULT_TOPS,
        **{title.replace("_", " "): y for title, y in others.items()},
    }


def pose_transfer() -> Workflow:
    """One person, one picture, a new pose."""
    reference = "Encode reference"
    return Workflow(
        "pose_transfer",
        [
            {
                "1  Person": [
                    load("Load reference", "person_a.png"),
                    load("Load reference dense pose", "person_a_dense_pose.png"),
                ],
                "1  Pose": [load("Load target pose", "person_a_target_pose.png")],
            },
            person_model(TINY),
            {
                TOLD: [
                    encode(reference, "Load reference", "Load reference dense pose"),
                    conditioning(dense_pose=("Load target pose", "IMAGE")),
                ]
            },
            *sampling(reference),
            results("pose_transfer", reference, DECODED, ("Flow detail transfer", "image")),
        ],
        f"""## Pose transfer

A person from one picture, in the pose of another.

**Load reference**: the person. **Load reference dense pose**: the pose in that picture.
**Load target pose**: the pose to paint.
{DENSE_POSES}{SETTINGS}""",
        tops(Load_person_model=560, Encode_reference=300),
        (
            Lane(MODEL, 604, ("Flow-guided attention",)),
            Lane(VAE, 860, ("Decode",)),
            *told(884, 908, 932),
            *looked(reference, "Flow detail transfer"),
            Lane(DECODED, 560, ("Save result",)),
            Lane(DECODED, 215, ("Flow preview",)),
        ),
    )


def two_references() -> Workflow:
    """One person seen in two pictures, a new pose."""
    first, second = "Encode reference", "Encode second reference"
    return Workflow(
        "two_references",
        [
            {
                "1  Person": [
                    load("Load reference", "person_a.png"),
                    load("Load reference dense pose", "person_a_dense_pose.png"),
                ],
                "1  The same person again": [
                    load("Load second reference", "person_a_second.png"),
                    load("Load second reference dense pose", "person_a_second_dense_pose.png"),
                ],
                "1  Pose": [load("Load target pose", "person_a_target_pose.png")],
            },
            person_model(TINY),
            {TOLD: [encode(first, "Load reference", "Load reference dense pose")]},
            {
                TOLD: [
                    encode(
                        second,
                        "Load second reference",
                        "Load second reference dense pose",
                        more=first,
                    ),
                    conditioning(dense_pose=("Load target pose", "IMAGE")),
                ]
            },
            *sampling(second),
            results("two_references", second, DECODED, ("Flow detail transfer", "image")),
        ],
        f"""## Two references

A person seen in two pictures, in a new pose. What one picture does not show, the other may.

**Load reference** and **Load second reference**: the same person, each with its dense pose.
**Load target pose**: the pose to paint. More pictures: chain Reference Encoders through `more`.
{DENSE_POSES}{SETTINGS}""",
        tops(Load_person_model=560, Encode_reference=300, Encode_second_reference=300),
        (
            Lane(MODEL, 500, (second, "Flow-guided attention")),
            Lane(VAE, 520, (second,)),
            Lane(VAE, 860, ("Decode",)),
            *told(884, 908, 932),
            *looked(second, "Flow detail transfer"),
            Lane(DECODED, 560, ("Save result",)),
            Lane(DECODED, 215, ("Flow preview",)),
        ),
    )


def try_on() -> Workflow:
    """A person puts on the garment of another picture; outside the mask every pixel stays."""
    reference = "Encode garment"
    pasted = ("Paste back", "Paste back with detail")
    return Workflow(
        "try_on",
        [
            {
                "1  Person": [
                    load("Load person", "person_b.png"),
                    load("Load person dense pose", "person_b_dense_pose.png"),
                ],
                "1  Garment": [
                    load("Load garment", "garment_c.png"),
                    load("Load garment dense pose", "garment_c_dense_pose.png"),
                ],
            },
            {
                **person_model(TINY),
                "1  What is repainted": [
                    load_mask("Load garment mask", "person_b_garment_mask.png"),
                    load_mask("Load hands mask", "person_b_hands_mask.png"),
                ],
            },
            {
                TOLD: [
                    encode(reference, "Load garment", "Load garment dense pose"),
                    conditioning(
                        dense_pose=("Load person dense pose", "IMAGE"),
                        person=("Load person", "IMAGE"),
                        garment_mask=("Load garment mask", "MASK"),
                        hand_protect_mask=("Load hands mask", "MASK"),
                    ),
                ]
            },
            *sampling(reference, REPAINTED),
            {
                "6  Only the garment changes": [
                    paste("Paste back with detail", ("Flow detail transfer", "image")),
                    paste("Paste back", DECODED),
                ]
            },
            results("try_on", reference, *((title, "IMAGE") for title in pasted)),
        ],
        f"""## Try-on

A person puts on the garment of another picture. Outside the mask every pixel stays.

**Load person**, with its dense pose. **Load garment**: somebody who wears it, with the dense pose.
**Load garment mask**: white where the person is repainted; cover all of the old garment.
**Load hands mask**: white where hands are; they are kept.
{DENSE_POSES}{SETTINGS}""",
        tops(
            Load_garment=60,
            Load_garment_dense_pose=440,
            Load_person_dense_pose=920,
            Load_person=1300,
            Load_garment_mask=1260,
            Load_hands_mask=1640,
            Load_person_model=560,
            Encode_garment=300,
            Paste_back_with_detail=300,
            Paste_back=560,
        ),
        (
            Lane(MODEL, 604, ("Flow-guided attention",)),
            Lane(VAE, 860, ("Decode",)),
            *told(884, 908, 932),
            *looked(reference, "Flow detail transfer"),
            Lane(DECODED, 624, ("Paste back",)),
            Lane(DECODED, 215, ("Flow preview",)),
            Lane(REPAINTED, 1024, ("Flow detail transfer", *pasted)),
            Lane(("Load person", "IMAGE"), 1140, ("Person conditioning", *pasted)),
        ),
    )


PERSON_WORKFLOWS = (pose_transfer, try_on, two_references)
