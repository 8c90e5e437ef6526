"""Workflows of mixture-of-attention: several people in one scene."""

from typing import Any

from .face_workflows import TINY_FACE
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

TINY_MOA = "mannequin-tiny-moa.safetensors"
STEPS, CFG, SEED = 12, 2.0, 7
WHO, WHERE, MODELS = "1  Who they are", "1  The picture", "2  Model"
ROUTER, PREVIEW, UNWANTED = "MoA router", "Route preview", "What not to paint"
ROUTED, ROUTES = (ROUTER, "model"), (ROUTER, "routes")
EVERYWHERE, EMPTY = "scene_mask_all.png", "scene_empty.png"

MINIATURE = """
mannequin-tiny-inpaint is a miniature for rendered people, and its router knows no other model. For
photographs open `moa_with_controlnet`.
"""
REFERENCES = """One clear face in each; several pictures of a person: chain Face Encoders through
`more`. The face model that ships finds rendered faces only: with other close-ups of heads, hair to
neck, set *find_face* to `whole picture`.
"""


def encode_face(title: str, picture: str, **more: Any) -> Node:
    """more: further inputs of Face Encoder."""
    inputs = {"image": (picture, "IMAGE"), "face_model": TINY_FACE, "find_face": "find"}
    return Node("MannequinFaceEncoder", title, {**inputs, **more})


def person(title: str, word: str, faces: str, morph: float = 0.5, **more: Wire) -> Node:
    """more: mask, morph_into, others."""
    inputs = {"word": word, "faces": (faces, "faces"), "morph": morph, **more}
    return Node("MannequinSubject", title, inputs)


def route(subjects: str, words: str, router: str = TINY_MOA, **more: Wire) -> Node:
    """more: model, clip, adapter where they are not those of the tiny model."""
    inputs = {
        "model": MODEL,
        "clip": CLIP,
        "subjects": (subjects, "subjects"),
        "prompt": words,
        "router": router,
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "layers": "all",
        "temperature": 1.0,
        "record_routes": True,
    }
    return Node("MannequinMoARouter", ROUTER, {**inputs, **more})


def _picture(picture: str, title: str = "Load empty picture") -> dict[str, list[Node]]:
    return {WHERE: [load(title, picture), load_mask("Load mask", EVERYWHERE)]}


def model() -> dict[str, list[Node]]:
    return {MODELS: [Node("MannequinLoadInpaintModel", LOADER, {"model_name": TINY_INPAINT})]}


def told_of(picture: str, whole: bool) -> Node:
    inputs = {
        "positive": (ROUTER, "positive"),
        "negative": (UNWANTED, "CONDITIONING"),
        "vae": VAE,
        "pixels": (picture, "IMAGE"),
        "mask": ("Load mask", "MASK"),
        "noise_mask": whole,
    }
    return Node("InpaintModelConditioning", TOLD_OF, inputs)


def route_preview(subject: int = 0) -> Node:
    inputs = {"routes": ROUTES, "image": DECODED, "mode": "people", "subject": subject}
    return Node("MannequinRoutePreview", PREVIEW, inputs)


def _painting(name: str, subjects: str, words: str) -> list[Column]:
    """From the prompt to the saved picture."""
    told = ((TOLD_OF, output) for output in ("positive", "negative", "latent"))
    return [
        {TOLD: [route(subjects, words), prompt(UNWANTED, "")]},
        {TOLD: [told_of("Load empty picture", True)]},
        sample(STEPS, CFG, SEED, *told, "normal", ROUTED),
        decode(vae=VAE),
        {RESULTS: [route_preview(), save("Save result", DECODED, name)]},
    ]


def tops(picture: str = "Load empty picture", **others: int) -> dict[str, int]:
    return {
        ROUTER: 60,
        UNWANTED: 780,
        TOLD_OF: ROW,
        "Sample": ROW,
        "Decode": ROW,
        PREVIEW: 60,
        "Save result": 560,
        picture: 940,
        "Load mask": 1320,
        LOADER: 940,
        **{title.replace("_", " "): y for title, y in others.items()},
    }


def lanes(picture: str, *pasted: str) -> tuple[Lane, ...]:
    return (
        Lane(ROUTES, 200, (PREVIEW,)),
        Lane(ROUTED, 224, ("Sample",)),
        Lane(MODEL, 900, (ROUTER,)),
        Lane(CLIP, 924, (ROUTER, UNWANTED)),
        Lane(VAE, 1110, (TOLD_OF, "Decode")),
        Lane((picture, "IMAGE"), 1134, (TOLD_OF, *pasted)),
        Lane(("Load mask", "MASK"), 1158, (TOLD_OF,)),
    )


def two_people_one_scene() -> Workflow:
    """Two people of two pictures, together in a scene that words describe."""
    first, second = "Encode first person", "Encode second person"
    return Workflow(
        "two_people_one_scene",
        [
            {
                WHO: [
                    load("Load first person", "portrait_a.png"),
                    load("Load second person", "portrait_b.png"),
                ],
                **_picture(EMPTY),
            },
            {
                WHO: [
                    encode_face(first, "Load first person"),
                    encode_face(second, "Load second person"),
                ],
                **model(),
            },
            {WHO: [person("First person", "woman", first)]},
            {WHO: [person("Second person", "man", second, others=("First person", "subjects"))]},
            *_painting(
                "two_people_one_scene",
                "Second person",
                "a scene of a man beside a woman, a window background",
            ),
        ],
        f"""## Two people, one scene

Two people, each known from a picture, in a scene that words describe. They stand from left to
right as the prompt names them; the router finds out where each of them is.

**Load first person** and **Load second person**: who they are. {REFERENCES}
*First person* and
*Second person*: the word of the prompt that means them. Two of one word ("a man beside a man")
are taken from left to right. A third person: one more Subject, chained.

*MoA router*: the whole scene in words. Turned round, "a woman beside a man", they mostly change
places; a mask in each Subject puts them elsewhere. `strength` says how much of the pixels the
people get; 0 is as if the node were not there.

**Then** press Run. *Route preview* shows who was painted where, and its mask is for other
nodes.
**Load empty picture** is as large as the scene, 128 x 64, and **Load mask** white all over:
everything is painted.
{MINIATURE}""",
        tops(Load_second_person=440, Encode_second_person=440, First_person=60, Second_person=300),
        (*lanes("Load empty picture"), Lane((second, "faces"), 560, ("Second person",))),
    )


def subject_morph() -> Workflow:
    """Somebody between two people."""
    first, second = "Encode first person", "Encode second person"
    between = person("Between them", "woman", first, morph_into=(second, "faces"))
    return Workflow(
        "subject_morph",
        [
            {
                WHO: [
                    load("Load first person", "portrait_a.png"),
                    load("Load second person", "portrait_c.png"),
                ],
                **_picture(EMPTY),
            },
            {
                WHO: [
                    encode_face(first, "Load first person"),
                    encode_face(second, "Load second person"),
                ],
                **model(),
            },
            {WHO: [between]},
            *_painting("subject_morph", "Between them", "a scene of a woman, a shapes background"),
        ],
        f"""## Subject morph

Somebody who looks like two people: their faces are mixed before anything is painted, in a scene
that stays the same.

**Load first person** and **Load second person**. {REFERENCES}
*Between them*: `morph` 0 is the
first person, 1 the second. For a row of pictures run it with 0, 0.25, 0.5, 0.75 and 1 and the
same `seed`.

**Then** press Run. **Load empty picture** is as large as the scene, and **Load mask** white all
over.
{MINIATURE}""",
        tops(Load_second_person=440, Encode_second_person=440, Between_them=60),
        lanes("Load empty picture"),
    )


MOA_WORKFLOWS = (two_people_one_scene, subject_morph)
