"""Who a person is: balanced attributes, and the body sliders that follow from them."""

from dataclasses import dataclass

import numpy as np

GENDERS = ("male", "female")
AGES = ("young", "middle-aged", "older")
BUILDS = ("slim", "average", "muscular", "heavy")
SKIN_TONES = np.array(
    [
        [0.95, 0.80, 0.70],
        [0.89, 0.70, 0.57],
        [0.78, 0.58, 0.44],
        [0.62, 0.43, 0.31],
        [0.45, 0.30, 0.21],
        [0.31, 0.20, 0.145],
    ]
)
HAIR_COLOURS = {
    "black": (0.08, 0.06, 0.055),
    "dark brown": (0.20, 0.13, 0.08),
    "brown": (0.36, 0.22, 0.13),
    "light brown": (0.56, 0.40, 0.23),
    "blond": (0.82, 0.68, 0.42),
    "red": (0.50, 0.20, 0.09),
    "grey": (0.60, 0.60, 0.61),
}
IRIS = ((0.25, 0.15, 0.08), (0.22, 0.40, 0.62), (0.27, 0.43, 0.25), (0.10, 0.07, 0.05))
HAIR_STYLES = ("bald", "cropped", "short", "bob", "long")
CELLS = len(GENDERS) * len(AGES) * len(BUILDS) * len(SKIN_TONES)
_AGE_RANGE = ((0.62, 0.70), (0.72, 0.86), (0.88, 1.0))
_BUILD = {
    "slim": ((0.08, 0.25), (0.25, 0.5)),
    "average": ((0.38, 0.55), (0.4, 0.6)),
    "muscular": ((0.4, 0.58), (0.75, 0.95)),
    "heavy": ((0.68, 0.92), (0.3, 0.55)),
}
_FACE_SLIDERS = (
    "nose-scale-horiz-incr",
    "nose-scale-vert-incr",
    "nose-scale-depth-incr",
    "nose-trans-up",
    "nose-hump-incr",
    "nose-point-up",
    "nose-volume-incr",
    "nose-width1-incr",
    "nose-width2-incr",
    "nose-width3-incr",
    "nose-curve-convex",
    "nose-flaring-incr",
    "mouth-scale-horiz-incr",
    "mouth-scale-vert-incr",
    "mouth-trans-up",
    "mouth-lowerlip-volume-incr",
    "mouth-upperlip-volume-incr",
    "chin-width-incr",
    "chin-height-incr",
    "chin-prominent-incr",
    "chin-bones-incr",
    "chin-jaw-drop-incr",
    "head-fat-incr",
    "head-scale-horiz-incr",
    "head-scale-vert-incr",
    "forehead-scale-vert-incr",
    "forehead-temple-incr",
    "eyebrows-angle-up",
    "eyebrows-trans-up",
)
_FACE_PAIRS = (
    "eye-scale-incr",
    "eye-trans-up",
    "eye-trans-out",
    "eye-height2-incr",
    "eye-corner1-up",
    "eye-corner2-up",
    "eye-epicanthus-out",
    "cheek-volume-incr",
    "cheek-bones-incr",
    "cheek-inner-incr",
    "ear-scale-incr",
    "ear-wing-incr",
)
_BODY_SLIDERS = (
    "torso-scale-horiz-incr",
    "torso-vshape-incr",
    "hip-scale-horiz-incr",
    "stomach-tone-incr",
    "neck-scale-horiz-incr",
    "measure-shoulder-dist-incr",
)


@dataclass(frozen=True)
class Identity:
    """One person without clothes: recorded attributes, sliders for anny, and colours 0..1."""

    gender: str
    age: str
    build: str
    skin_tone: int  # 0 lightest .. 5 darkest
    hair_style: str
    hair_colour: str
    expression: str
    phenotype: dict[str, float]
    details: dict[str, float]
    actions: dict[str, float]
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    brow_width: float
    hairline: float  # atlas pixels: larger is lower on the forehead
    hair_volume: float  # metres
    hair_length: float  # metres below the crown, for bob and long
    hair_seed: float
    look: object = None  # looks.Look, which recipe people-1 does not have

    def attributes(self) -> dict:
        return {
            "gender": self.gender,
            "age": self.age,
            "build": self.build,
            "skin_tone": self.skin_tone,
            "hair_style": self.hair_style,
            "hair_colour": self.hair_colour,
            "expression": self.expression,
        }


def sample_identity(rng: np.random.Generator, cell: int) -> Identity:
    """Draws a person of stratum `cell`, 0..CELLS-1, which fixes gender, age, build and skin tone.

    Walking through all cells gives every combination once, so that whoever takes the cells in
    shuffled blocks gets balanced people.
    """
    if not 0 <= cell < CELLS:
        raise ValueError(f"cell must be 0..{CELLS - 1}, got {cell}")
    cell, tone = divmod(cell, len(SKIN_TONES))
    cell, build = divmod(cell, len(BUILDS))
    gender, age = divmod(cell, len(AGES))
    weight, muscle = _BUILD[BUILDS[build]]
    phenotype = {
        "gender": (0.04, 0.96)[gender] + rng.uniform(-0.04, 0.04),
        "age": rng.uniform(*_AGE_RANGE[age]),
        "weight": rng.uniform(*weight),
        "muscle": rng.uniform(*muscle),
        "height": rng.uniform(0.35, 0.68),
        "proportions": rng.uniform(0.45, 0.95),
    }

    def draw(spread: float) -> float:
        return float(np.clip(rng.normal(0, spread), -0.9, 0.9))

    details = {name: draw(0.42) for name in _FACE_SLIDERS} | {
        name: draw(0.2) for name in _BODY_SLIDERS
    }
    for name in _FACE_PAIRS:
        details[f"l-{name}"] = details[f"r-{name}"] = draw(0.4)
    expression = ("neutral", "smile", "open mouth", "frown")[
        rng.choice(4, p=(0.4, 0.35, 0.1, 0.15))
    ]
    strength = rng.uniform(0.35, 0.8)
    actions = {
        "neutral": {},
        "smile": {"mouthSmileLeft": strength, "mouthSmileRight": strength},
        "open mouth": {"jawOpen": strength * 0.4},
        "frown": {
            "mouthFrownLeft": strength,
            "mouthFrownRight": strength,
            "browDownLeft": strength,
            "browDownRight": strength,
        },
    }[expression]
    style_odds = ((0.16, 0.3, 0.42, 0.06, 0.06), (0.03, 0.07, 0.2, 0.3, 0.4))[gender]
    style = HAIR_STYLES[rng.choice(5, p=style_odds)]
    grey = rng.random() < (0.01, 0.13, 0.5)[age]
    natural = (
        [0.34, 0.2, 0.16, 0.1, 0.13, 0.07] if tone < 3 else [0.66, 0.24, 0.06, 0.02, 0.01, 0.01]
    )
    colour = "grey" if grey else list(HAIR_COLOURS)[rng.choice(6, p=natural)]
    skin = SKIN_TONES[tone] * rng.uniform(0.96, 1.04) * (1 + rng.normal(0, 0.012, 3))
    hair = np.array(HAIR_COLOURS[colour]) * rng.uniform(0.85, 1.15)
    redden = np.array([0.98, 0.72, 0.70]) if gender == 0 else np.array([1.02, 0.60, 0.61])
    return Identity(
        gender=GENDERS[gender],
        age=AGES[age],
        build=BUILDS[build],
        skin_tone=tone,
        hair_style=style,
        hair_colour=colour,
        expression=expression,
        phenotype={k: float(v) for k, v in phenotype.items()},
        details=details,
        actions=actions,
        skin=np.clip(skin, 0, 1),
        hair=np.clip(hair, 0, 1),
        iris=np.array(IRIS[rng.choice(4) if tone < 3 else (0, 3)[rng.choice(2)]]),
        lips=np.clip(skin * redden * rng.uniform(0.9, 1.05), 0, 1),
        brow_width=rng.uniform(0.8, 1.5),
        hairline=rng.uniform(772, 808),
        hair_volume=rng.uniform(0.008, 0.03),
        hair_seed=rng.uniform(0, 100),
        hair_length=rng.uniform(0.24, 0.30) if style == "bob" else rng.uniform(0.34, 0.5),
    )
