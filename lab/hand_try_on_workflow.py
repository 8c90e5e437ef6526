"""The try-on whose mask may cover the hands."""

from .graph import Lane, Node, Workflow
from .hand_workflows import (
    BLENDED,
    BLENDER,
    CROPS,
    HANDS,
    MINIATURE,
    POINTS,
    POSE,
    STAGE,
    blender,
    hand_pose,
    hand_stage,
)
from .workflow_parts import (
    DECODED,
    LATENT,
    MODEL,
    NEGATIVE,
    POSITIVE,
    REPAINTED,
    RESULTS,
    ROW,
    TOLD,
    VAE,
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

TINY = "mannequin-tiny.safetensors"
STEPS, CFG, SEED = 12, 1.5, 7
INVERTED = "Where the hands are"


def try_on_hands() -> Workflow:
    """A try-on whose mask covers the hands, and they stay the person's own nevertheless."""
    reference = "Encode garment"
    person = ("Load person", "IMAGE")
    return Workflow(
        "try_on_hands",
        [
            {
                "1  Person": [
                    load(person[0], "person_c.png"),
                    load("Load person dense pose", "person_c_dense_pose.png"),
                ],
                "1  Garment": [
                    load("Load garment", "garment_c.png"),
                    load("Load garment dense pose", "garment_c_dense_pose.png"),
                ],
            },
            {
                **person_model(TINY),
                "1  Hands": [hand_pose(image=person)],
                "1  What is repainted": [load_mask("Load garment mask", "person_c_arms_mask.png")],
            },
            {"2  What a hand covers": [hand_stage()]},
            {"3  Hands stay": [blender(MODEL, CROPS, 4.0, "none", canvas=person)]},
            {"3  Hands stay": [Node("InvertMask", INVERTED, {"mask": (BLENDER, "mask")})]},
            {
                TOLD: [
                    encode(reference, "Load garment", "Load garment dense pose"),
                    conditioning(
                        dense_pose=("Load person dense pose", "IMAGE"),
                        person=person,
                        garment_mask=("Load garment mask", "MASK"),
                        hand_protect_mask=(INVERTED, "MASK"),
                    ),
                ]
            },
            attention(reference, model=BLENDED),
            sample(STEPS, CFG, SEED, POSITIVE, NEGATIVE, LATENT, "simple"),
            decode(),
            {"5  Only the garment changes": [paste("Paste back", DECODED)]},
            {
                RESULTS: [
                    preview(reference),
                    save("Save result", ("Paste back", "IMAGE"), "try_on_hands"),
                ]
            },
        ],
        f"""## Try-on that keeps the hands

A person puts on the garment of another picture. The mask covers top, arms and hands; the hands
stay the person's own.

**Load person** and **Load garment**, each with its dense pose: red = 10 x part index, green and
blue = coordinates on the body, lossless PNG.
**Load garment mask**: white where the person is repainted. It may cover the hands.
{POINTS}*Hand stage* knows from the points which pixels a hand covers. *Outpaint blender* puts the
person's own close-ups there, and keeps `grow` pixels around them in the first step.

**Then** press Run. A halo of the old garment around the fingers: lower `grow`, or `border` when
the fingers themselves are nibbled away.
{MINIATURE}mannequin-tiny is one for 96 x 128 pictures of rendered people.
""",
        {
            **main_line("Paste back"),
            "Load garment": 60,
            "Load garment dense pose": 440,
            "Load person dense pose": 920,
            "Load person": 1300,
            "Load person model": 560,
            POSE: 920,
            "Load garment mask": 1460,
            STAGE: 920,
            BLENDER: 920,
            INVERTED: 1000,
            reference: ROW,
            "Person conditioning": 920,
            "Flow preview": 60,
            "Save result": 490,
        },
        (
            Lane(MODEL, 704, (BLENDER, reference, "Person conditioning")),
            Lane(BLENDED, 780, ("Flow-guided attention",)),
            Lane(VAE, 860, (reference, "Person conditioning", "Decode")),
            *told(884, 908, 932),
            Lane(("Load garment", "IMAGE"), 460, (reference,)),
            Lane(("Load garment dense pose", "IMAGE"), 484, (reference,)),
            Lane(HANDS, 1250, (BLENDER,)),
            Lane(CROPS, 1274, (BLENDER,)),
            Lane(("Load person dense pose", "IMAGE"), 1330, ("Person conditioning",)),
            Lane(person, 1354, (BLENDER, "Person conditioning", "Paste back")),
            Lane(("Load garment mask", "MASK"), 1378, ("Person conditioning",)),
            Lane(REPAINTED, 1024, ("Paste back",)),
            *looked(reference),
            Lane(DECODED, 215, ("Flow preview",)),
        ),
    )
