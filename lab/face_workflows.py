"""Workflows of parallel visual attention: faces that stay a certain person's."""

from .graph import Lane, Node, Wire, Workflow
from .inpaint_workflows import CLIP, LOADER, MODEL, TINY_INPAINT, TOLD_OF, VAE, prompt
from .workflow_parts import (
    DECODED,
    RESULTS,
    ROW,
    TOLD,
    Column,
    decode,
    load,
    load_mask,
    sample,
    save,
)

TINY_FACE, TINY_PVA = "mannequin-tiny-face.safetensors", "mannequin-tiny-pva.safetensors"
STEPS, CFG, SEED, TUNING_STEPS = 12, 2.0, 7, 40
SIZE, PADDING = 64, 0.6
PICTURE, MASK = "Load picture", "Load mask"
FIRST, SECOND = "Load reference", "Load second reference"
CROP, PASTE = "Crop around mask", "Paste crop"
WANTED, UNWANTED = "What to paint", "What not to paint"
ADAPTER, PERSONAL = ("Load person adapter", "adapter"), ("Personalize face", "adapter")
FACES = ("Encode second reference", "faces")
PVA = "Parallel visual attention"
SEEN, SAID = (PVA, "model"), (PVA, "clip")
WHAT, WHO, MODELS = "1  Picture, and what is painted", "1  Who it is", "2  Models"
PERSON = "photo of a <new1> person"

WITH_REFERENCES = """
**Load reference** and **Load second reference**: the person, one clear face in each. More pictures:
chain Face Encoders through `more`. The face model that ships finds rendered faces only: with other
close-ups of heads, hair to neck, set *find_face* to `whole picture`.
"""
MINIATURE = """
mannequin-tiny-inpaint is a miniature for rendered people. For photographs wire an SD1.5 or SDXL
inpainting checkpoint (Load Checkpoint) with an adapter and a face network made for it, and set
*size* of Crop Around Mask to 512 or 1024.
"""
SEVERAL = """
**Several faces**: copy everything from Crop Around Mask to Paste Crop, connect the pasted picture
where the picture was, and give the copy its own mask and its own references, such as
`pair_ab_mask_b.png`, `portrait_b.png` and `portrait_b_second.png`.
"""


def _pictures(picture: str, mask: str) -> Column:
    return {
        WHAT: [load(PICTURE, picture), load_mask(MASK, mask)],
        WHO: [load(FIRST, "portrait_a_second.png"), load(SECOND, "portrait_a_third.png")],
    }


def _faces(title: str, reference: str, **more: Wire) -> Node:
    inputs = {"image": (reference, "IMAGE"), "face_model": TINY_FACE, "find_face": "find"}
    return Node("MannequinFaceEncoder", title, {**inputs, **more})


def _close_up() -> Column:
    """The crop of what is painted; below it the first reference."""
    crop = {
        "image": (PICTURE, "IMAGE"),
        "mask": (MASK, "MASK"),
        "size": SIZE,
        "padding": PADDING,
    }
    return {
        WHAT: [Node("MannequinMaskCrop", CROP, crop)],
        WHO: [_faces("Encode reference", FIRST)],
    }


def _models() -> Column:
    """The models; below them the second reference."""
    return {
        MODELS: [
            Node("MannequinLoadInpaintModel", LOADER, {"model_name": TINY_INPAINT}),
            Node("MannequinLoadPersonAdapter", ADAPTER[0], {"adapter_name": TINY_PVA}),
        ],
        WHO: [_faces(FACES[0], SECOND, more=("Encode reference", "faces"))],
    }


def _attention(adapter: Wire, in_negative: bool = False, **faces: Wire) -> Column:
    inputs = {
        "model": MODEL,
        "adapter": adapter,
        **faces,
        "clip": CLIP,
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "layers": "all",
        "in_negative": in_negative,
    }
    return {TOLD: [Node("MannequinParallelVisualAttention", PVA, inputs)]}


def _painting(name: str, words: str) -> list[Column]:
    """From the words to the saved picture."""
    told = {
        "positive": (WANTED, "CONDITIONING"),
        "negative": (UNWANTED, "CONDITIONING"),
        "vae": VAE,
        "pixels": (CROP, "image"),
        "mask": (CROP, "mask"),
        "noise_mask": True,
    }
    outputs = ((TOLD_OF, output) for output in ("positive", "negative", "latent"))
    pasted = {"crop": (CROP, "crop"), "painted": DECODED, "feather": 2}
    return [
        {TOLD: [prompt(WANTED, words, SAID), prompt(UNWANTED, "", SAID)]},
        {TOLD: [Node("InpaintModelConditioning", TOLD_OF, told)]},
        sample(STEPS, CFG, SEED, *outputs, "normal", SEEN),
        decode(vae=VAE),
        {"5  Only the face changes": [Node("MannequinPasteCrop", PASTE, pasted)]},
        {RESULTS: [save("Save result", (PASTE, "image"), name)]},
    ]


def _tops(**others: int) -> dict[str, int]:
    in_row = (LOADER, PVA, WANTED, TOLD_OF, "Sample", "Decode", PASTE, "Save result")
    return {
        PICTURE: 60,
        MASK: 440,
        CROP: 60,
        **dict.fromkeys(in_row, ROW),
        ADAPTER[0]: 500,
        UNWANTED: 520,
        FIRST: 960,
        SECOND: 1340,
        "Encode reference": 960,
        FACES[0]: 960,
        **{title.replace("_", " "): y for title, y in others.items()},
    }


LANES = (
    Lane((CROP, "crop"), 132, (PASTE,)),
    Lane((CROP, "image"), 156, (TOLD_OF,)),
    Lane((CROP, "mask"), 180, (TOLD_OF,)),
    Lane(SEEN, 720, ("Sample",)),
    Lane(VAE, 850, (TOLD_OF, "Decode")),
    Lane((SECOND, "IMAGE"), 1180, (FACES[0],)),
)


def face_inpaint() -> Workflow:
    """A face in a picture of two is painted anew, as the person of the references."""
    return Workflow(
        "face_inpaint",
        [
            _pictures("pair_ab.png", "pair_ab_mask_a.png"),
            _close_up(),
            _models(),
            _attention(ADAPTER, faces=FACES),
            *_painting("face_inpaint", PERSON),
        ],
        f"""## Face inpaint

A face that is hidden, damaged or wrong is painted anew as a certain person's. Outside the mask
every pixel stays.

**Load picture**, and **Load mask**: white over the one face that is painted, with a little margin.
{WITH_REFERENCES}
*What to paint*: `<new1>` is the word that the adapter learned for the person. Add words to it:
"{PERSON}, a smile". `strength` of Parallel Visual Attention says how much the person counts; 0 is
as if the node were not there.
{SEVERAL}
**Then** press Run. For a closer likeness open `personalize_face`.
{MINIATURE}""",
        _tops(),
        LANES,
    )


def face_edit() -> Workflow:
    """Words change a portrait, and it stays the same person."""
    return Workflow(
        "face_edit",
        [
            _pictures("portrait_a.png", "portrait_a_face_mask.png"),
            _close_up(),
            _models(),
            _attention(ADAPTER, in_negative=True, faces=FACES),
            *_painting("face_edit", f"{PERSON}, laughing, black round glasses"),
        ],
        f"""## Face edit

Words change a face, and it stays the same person: expression, beard, glasses, hair. Outside the
mask every pixel stays.

**Load picture**, and **Load mask**: white where the change is to happen: the face for expression,
beard and glasses, the whole head for hair.
{WITH_REFERENCES}
**What to paint**: after "{PERSON}" what is to change: "laughing", "closed eyes", "a full beard",
"sunglasses", "long blond hair". *in_negative* is on: the person is seen with and without the words,
so that `cfg` strengthens the words alone. Where the words lose, lower `strength` a little or raise
`cfg`.

**Then** press Run. Another `seed` gives another picture.
{MINIATURE}""",
        _tops(),
        LANES,
    )


def personalize_face() -> Workflow:
    """Forty steps for one person, then a face is painted as that person's."""
    tuned = {
        "model": MODEL,
        "clip": CLIP,
        "vae": VAE,
        "adapter": ADAPTER,
        "faces": FACES,
        "steps": TUNING_STEPS,
        "learning_rate": 0.0,
        "seed": 0,
    }
    return Workflow(
        "personalize_face",
        [
            _pictures("pair_ab.png", "pair_ab_mask_a.png"),
            _close_up(),
            _models(),
            {"2  Learning the person": [Node("MannequinPersonalizeFace", PERSONAL[0], tuned)]},
            _attention(PERSONAL),
            *_painting("personalize_face", PERSON),
        ],
        f"""## Personalize face

Forty short steps of training teach the adapter one person; then a face is painted as that person's.

**Load picture**, and **Load mask**: white over the face that is painted.
{WITH_REFERENCES}
**Then** press Run. *Personalize face* shows its progress; stopped, it goes on where it was, and run
again unchanged it takes no step. More `steps` go on from what is there.

**To keep the person**, connect the adapter of *Personalize face* to Save Person Adapter. It asks
who consented, writes that into the file, and saves no person's adapter without. Later choose the
file in **Load person adapter**, leave out *Personalize face* and the references, and wire it to
Parallel Visual Attention directly. Use pictures of people who agreed.
{MINIATURE}""",
        _tops(Personalize_face=ROW),
        (
            *LANES,
            Lane(MODEL, 204, (PVA,)),
            Lane(CLIP, 228, (PVA,)),
        ),
    )


FACE_WORKFLOWS = (face_inpaint, face_edit, personalize_face)
