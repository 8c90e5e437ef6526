"""The words that the tiny text encoder knows: those of the captions, and room for more."""

from typing import Any

_HUES = "red orange yellow green teal blue purple pink black white grey golden"
_TONES = "light dark very medium brown blond"
_WHO = "young middle-aged older slim average muscular heavy man woman person people men women"
_FACE = (
    "face head hair bald cropped short bob long skin neutral expression smile smiling laugh "
    "laughing surprised frown frowning eyes closed open mouth beard stubble moustache goatee full "
    "glasses round square sunglasses freckles happy sad"
)
_HAND = "hand hands left right pointing fingers fist relaxed finger gesture"
_CLOTHES = (
    "wearing loose fitted top plain horizontal vertical diagonal stripes checks dots blocks zigzag "
    "colour-blocked neck crew scoop v boat square sleeveless cap short three-quarter long sleeves "
    "sleeve print trousers shorts skirt whole body thigh to shirt"
)
_PRINTS = (
    "b e f g h k m n p r s t w x z 4 7 9 23 42 go ny up ok hi art star heart ring triangle bolt "
)
_SIGNS = "cross moon diamond"
_SMALL = "a the of with and no in on at by is are one two three photo picture close-up scene beside"
_PLACES = "wall floor window panels background gradient shapes room"
_LEARNED = " ".join(f"<new{i}>" for i in range(1, 9))
WORDS = tuple(
    dict.fromkeys(
        " ".join(
            (_HUES, _TONES, _WHO, _FACE, _HAND, _CLOTHES, _PRINTS, _SIGNS, _SMALL, _PLACES)
        ).split()
        + _LEARNED.split()
    )
)
ALIASES = {
    "an": "a",
    "blonde": "blond",
    "gray": "grey",
    "mustache": "moustache",
    "gold": "golden",
    "old": "older",
    "fat": "heavy",
    "guy": "man",
    "lady": "woman",
    "male": "man",
    "female": "woman",
    "portrait": "face",
    "pants": "trousers",
    "t-shirt": "top",
    "sweater": "top",
    "smiles": "smiling",
    "laughs": "laughing",
    "frowns": "frowning",
    "surprise": "surprised",
    "spectacles": "glasses",
    "violet": "purple",
}
TEXT: dict[str, Any] = {
    "words": list(WORDS),
    "aliases": ALIASES,
    "length": 48,
    "width": 96,
    "layers": 2,
    "heads": 3,
}
