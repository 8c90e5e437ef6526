"""Who a person is: balanced attributes, and the body sliders that follow from them."""

from dataclasses import dataclass

import numpy as np

GENDERS = ("male", "female")
AGES = ("young", "middle-aged", "older")
BUILDS = ("slim", "average", "muscular", "heavy")
SKIN_TONES = np.array([[.95, .80, .70], [.89, .70, .57], [.78, .58, .44],
                       [.62, .43, .31], [.45, .30, .21], [.31, .20, .145]])
HAIR_COLOURS = {"black": (.08, .06, .055), "dark brown": (.20, .13, .08), "brown": (.36, .22, .13),
                "light brown": (.56, .40, .23), "blond": (.82, .68, .42), "red": (.50, .20, .09),
                "grey": (.60, .60, .61)}
IRIS = ((.25, .15, .08), (.22, .40, .62), (.27, .43, .25), (.10, .07, .05))
HAIR_STYLES = ("bald", "cropped", "short", "bob", "long")
CELLS = len(GENDERS) * len(AGES) * len(BUILDS) * len(SKIN_TONES)
_AGE_RANGE = ((.62, .70), (.72, .86), (.88, 1.0))
_BUILD = {"slim": ((.08, .25), (.25, .5)), "average": ((.38, .55), (.4, .6)),
          "muscular": ((.4, .58), (.75, .95)), "heavy": ((.68, .92), (.3, .55))}
_FACE_SLIDERS = ("nose-scale-horiz-incr", "nose-scale-vert-incr", "nose-scale-depth-incr",
                 "nose-trans-up", "nose-hump-incr", "nose-point-up", "nose-volume-incr",
                 "nose-width1-incr", "nose-width2-incr", "nose-width3-incr", "nose-curve-convex",
                 "nose-flaring-incr", "mouth-scale-horiz-incr", "mouth-scale-vert-incr",
                 "mouth-trans-up", "mouth-lowerlip-volume-incr", "mouth-upperlip-volume-incr",
                 "chin-width-incr", "chin-height-incr", "chin-prominent-incr", "chin-bones-incr",
                 "chin-jaw-drop-incr", "head-fat-incr", "head-scale-horiz-incr",
                 "head-scale-vert-incr", "forehead-scale-vert-incr", "forehead-temple-incr",
                 "eyebrows-angle-up", "eyebrows-trans-up")
_FACE_PAIRS = ("eye-scale-incr", "eye-trans-up", "eye-trans-out", "eye-height2-incr",
               "eye-corner1-up", "eye-corner2-up", "eye-epicanthus-out", "cheek-volume-incr",
               "cheek-bones-incr", "cheek-inner-incr", "ear-scale-incr", "ear-wing-incr")
_BODY_SLIDERS = ("torso-scale-horiz-incr", "torso-vshape-incr", "hip-scale-horiz-incr",
                 "stomach-tone-incr", "neck-scale-horiz-incr", "measure-shoulder-dist-incr")


@dataclass(frozen=True)
class Identity:
    """One person without clothes: recorded attributes, sliders for anny, and colours 0..1."""

    gender: str
    age: str
    build: str
    skin_tone: int             # 0 lightest .. 5 darkest
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
    hairline: float            # atlas pixels: larger is lower on the forehead
    hair_volume: float         # metres
    hair_length: float         # metres below the crown, for bob and long
    hair_seed: float

    def attributes(self) -> dict:
        return {"gender": self.gender, "age": self.age, "build": self.build,
                "skin_tone": self.skin_tone, "hair_style": self.hair_style,
                "hair_colour": self.hair_colour, "expression": self.expression}


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
    phenotype = {"gender": (.04, .96)[gender] + rng.uniform(-.04, .04),
                 "age": rng.uniform(*_AGE_RANGE[age]), "weight": rng.uniform(*weight),
                 "muscle": rng.uniform(*muscle), "height": rng.uniform(.35, .68),
                 "proportions": rng.uniform(.45, .95)}


    def draw(spread: float) -> float:
        return float(np.clip(rng.normal(0, spread), -.9, .9))

    details = {name: draw(.42) for name in _FACE_SLIDERS} | {name: draw(.2) for name in _BODY_SLIDERS}
    for name in _FACE_PAIRS:
        details[f"l-{name}"] = details[f"r-{name}"] = draw(.4)
    expression = ("neutral", "smile", "open mouth", "frown")[rng.choice(4, p=(.4, .35, .1, .15))]
    strength = rng.uniform(.35, .8)
    actions = {"neutral": {}, "smile": {"mouthSmileLeft": strength, "mouthSmileRight": strength},
               "open mouth": {"jawOpen": strength * .4},
               "frown": {"mouthFrownLeft": strength, "mouthFrownRight": strength,
                         "browDownLeft": strength, "browDownRight": strength}}[expression]
    style_odds = ((.16, .3, .42, .06, .06), (.03, .07, .2, .3, .4))[gender]
    style = HAIR_STYLES[rng.choice(5, p=style_odds)]
    grey = rng.random() < (.01, .13, .5)[age]
    natural = [.34, .2, .16, .1, .13, .07] if tone < 3 else [.66, .24, .06, .02, .01, .01]
    colour = "grey" if grey else list(HAIR_COLOURS)[rng.choice(6, p=natural)]
    skin = SKIN_TONES[tone] * rng.uniform(.96, 1.04) * (1 + rng.normal(0, .012, 3))
    hair = np.array(HAIR_COLOURS[colour]) * rng.uniform(.85, 1.15)
    redden = np.array([.98, .72, .70]) if gender == 0 else np.array([1.02, .60, .61])
    return Identity(
        gender=GENDERS[gender], age=AGES[age], build=BUILDS[build], skin_tone=tone,
        hair_style=style, hair_colour=colour, expression=expression,
        phenotype={k: float(v) for k, v in phenotype.items()}, details=details, actions=actions,
        skin=np.clip(skin, 0, 1), hair=np.clip(hair, 0, 1),
        iris=np.array(IRIS[rng.choice(4) if tone < 3 else (0, 3)[rng.choice(2)]]),
        lips=np.clip(skin * redden * rng.uniform(.9, 1.05), 0, 1),
        brow_width=rng.uniform(.8, 1.5), hairline=rng.uniform(772, 808),
        hair_volume=rng.uniform(.008, .03), hair_seed=rng.uniform(0, 100),
        hair_length=rng.uniform(.24, .30) if style == "bob" else rng.uniform(.34, .5))
