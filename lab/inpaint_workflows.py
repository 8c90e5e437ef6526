"""Workflows of the tiny inpainting model, which is told in words what to paint."""

from .graph import Lane, Node, Wire, Workflow
from .workflow_parts import (
    DECODED,
    RESULTS,
    ROW,
    TOLD,
    decode,
    load,
    load_mask,
    sample,
    save,
)

LOADER, TOLD_OF = "Load inpaint model", "Picture and mask"
MODEL, CLIP, VAE = ((LOADER, output) for output in ("model", "clip", "vae"))
POSITIVE, NEGATIVE, LATENT = ((TOLD_OF, output) for output in ("positive", "negative", "latent"))
TINY_INPAINT = "mannequin-tiny-inpaint.safetensors"
STEPS, CFG, SEED = 12, 2.5, 7
WORDS = "the face of a young woman, light skin, a smile, sunglasses"


def prompt(title: str, text: str, clip: Wire = CLIP) -> Node:
    return Node("CLIPTextEncode", title, {"clip": clip, "text": text})


def inpaint_with_words() -> Workflow:
    """Part of a picture is painted anew, as words say."""
    wanted, unwanted = "What to paint", "What not to paint"
    picture, mask = ("Load picture", "IMAGE"), ("Load mask", "MASK")
    told = {
        "positive": (wanted, "CONDITIONING"),
        "negative": (unwanted, "CONDITIONING"),
        "vae": VAE,
        "pixels": picture,
        "mask": mask,
        "noise_mask": True,
    }
    pasted = {
        "destination": picture,
        "source": DECODED,
        "x": 0,
        "y": 0,
        "resize_source": False,
        "mask": mask,
    }
    return Workflow(
        "inpaint_with_words",
        [
            {
                "1  Picture, and what is painted": [
                    load(picture[0], "portrait_a.png"),
                    load_mask(mask[0], "portrait_a_face_mask.png"),
                ]
            },
            {"2  Model": [Node("MannequinLoadInpaintModel", LOADER, {"model_name": TINY_INPAINT})]},
            {TOLD: [prompt(wanted, WORDS), prompt(unwanted, "")]},
            {TOLD: [Node("InpaintModelConditioning", TOLD_OF, told)]},
            sample(STEPS, CFG, SEED, POSITIVE, NEGATIVE, LATENT, "normal", MODEL),
            decode(vae=VAE),
            {
                "5  Only the masked part changes": [
                    Node("ImageCompositeMasked", "Paste back", pasted)
                ]
            },
            {RESULTS: [save("Save result", ("Paste back", "IMAGE"), "inpaint_with_words")]},
        ],
        """## Inpaint with words

Part of a picture is painted anew, as you say. Outside the mask every pixel stays.

**Load picture**: a close-up of a face or a hand, 64 x 64, or a whole person, 96 x 128.
**Load mask**: white where it is painted.

**What to paint**: in the words of the captions it was trained with: who ("the face of a young
man"), hair ("short red hair"), skin ("dark skin"), expression ("a smile", "laughing", "surprised"),
beard ("a full beard", "no beard"), glasses ("black round glasses", "sunglasses"). Words that it
does not know are named in the log. *What not to paint* may stay empty.

**Then** press Run. Another `seed` paints another face; a higher `cfg` follows the words more
closely.

mannequin-tiny-inpaint is a miniature for rendered people. For photographs wire an SD1.5 or SDXL
inpainting checkpoint the same way, with Load Checkpoint.
""",
        {
            "Load picture": 60,
            LOADER: ROW,
            wanted: 120,
            unwanted: 420,
            TOLD_OF: ROW,
            "Sample": ROW,
            "Decode": ROW,
            "Paste back": ROW,
            "Save result": ROW,
        },
        (
            Lane(MODEL, 700, ("Sample",)),
            Lane(VAE, 836, (TOLD_OF, "Decode")),
            Lane(picture, 860, (TOLD_OF, "Paste back")),
            Lane(mask, 884, (TOLD_OF, "Paste back")),
        ),
    )


INPAINT_WORKFLOWS = (inpaint_with_words,)
