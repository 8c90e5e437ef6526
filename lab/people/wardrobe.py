"""The wardrobe: what garments are cut from and printed with, drawn at random."""

import colorsys
from dataclasses import asdict, dataclass

import numpy as np

from .prints import PRINTS

PATTERNS = (
    "plain",
    "horizontal stripes",
    "vertical stripes",
    "checks",
    "dots",
    "blocks",
    "diagonal stripes",
    "zigzag",
)
NECKS = ("crew", "scoop", "v", "boat", "square")
SLEEVES = {"sleeveless": 0.06, "cap": 0.3, "short": 0.62, "three-quarter": 1.3, "long": 1.93}
HEMS = {"cropped": 0.15, "waist": 0.10, "hip": 0.05, "long": 0.0}
BOTTOMS = ("trousers", "shorts", "skirt")
_BRIGHTNESS = np.array([0.299, 0.587, 0.114])
_HUES = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")


@dataclass(frozen=True)
class Cloth:
    """A dyed cloth: pattern, two colours (RGB 0..1) and the period of the pattern in metres."""

    pattern: str
    colour: tuple[float, float, float]
    second: tuple[float, float, float]
    period: float
    phase: float


@dataclass(frozen=True)
class Top:
    cloth: Cloth
    neck: str
    neck_width: float  # half width, metres in the template
    neck_depth: float
    sleeve: str
    sleeve_end: float  # along the arm: 1 elbow, 2 wrist
    hem: float  # template height, metres
    looseness: float  # metres off the skin
    flare: float  # metres wider at hem and sleeve ends
    folds: float  # strength of the wrinkles
    print_name: str | None
    print_height: float  # metres
    print_colour: tuple[float, float, float]
    trim: bool
    trim_colour: tuple[float, float, float]
    sleeve_colour: tuple[float, float, float] | None


@dataclass(frozen=True)
class Bottom:
    kind: str
    cloth: Cloth
    looseness: float
    end: float  # template height where trousers or shorts end
    length: float  # of a skirt, as a share of the leg
    flare: float


@dataclass(frozen=True)
class Outfit:
    top: Top
    bottom: Bottom
    shoe: tuple[float, float, float]
    boot: float  # template height where the shoe ends

    def attributes(self) -> dict:
        top = self.top
        return {
            "top": {
                "pattern": top.cloth.pattern,
                "colour": colour_name(top.cloth.colour),
                "second": colour_name(top.cloth.second),
                "neck": top.neck,
                "sleeve": top.sleeve,
                "loose": top.looseness > 0.016,
                "print": top.print_name,
            },
            "bottom": {
                "kind": self.bottom.kind,
                "pattern": self.bottom.cloth.pattern,
                "colour": colour_name(self.bottom.cloth.colour),
            },
        }


def recorded(garment: Top | Bottom) -> dict:
    """Every number that a garment is made of, json-able."""
    return asdict(garment)


def colour_name(rgb: tuple[float, float, float]) -> str:
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    if value < 0.2:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.82 else "grey"
    name = _HUES[int(np.searchsorted((0.04, 0.11, 0.19, 0.44, 0.53, 0.7, 0.82, 0.95), hue)) % 8]
    return f"dark {name}" if value < 0.45 else name


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    kind = rng.random()
    if kind < 0.2:
        value = rng.choice([0.08, 0.35, 0.6, 0.93]) + rng.uniform(-0.04, 0.04)
        return (value, value, value)
    hue, saturation, value = rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.3, 0.98)
    like_skin = hue < 0.115 and saturation < 0.72
    return colorsys.hsv_to_rgb(hue + 0.15 if like_skin else hue, saturation, value)


def contrasting(
    rng: np.random.Generator, *others: tuple[float, float, float]
) -> tuple[float, float, float]:
    """A colour whose brightness is at least .38 away from every other, or the best of 20 tries."""

    def distance(colour: tuple[float, float, float]) -> float:
        return min(abs(np.dot(_BRIGHTNESS, colour) - np.dot(_BRIGHTNESS, o)) for o in others)

    tries = []
    for _ in range(20):
        tries.append(_colour(rng))
        if distance(tries[-1]) > 0.38:
            return tries[-1]
    return max(tries, key=distance)


def _cloth(rng: np.random.Generator, odds: tuple[float, ...]) -> Cloth:
    colour = _colour(rng)
    return Cloth(
        PATTERNS[rng.choice(len(PATTERNS), p=odds)],
        colour,
        contrasting(rng, colour),
        float(np.exp(rng.uniform(np.log(0.045), np.log(0.14)))),
        float(rng.random()),
    )


def sample_top(rng: np.random.Generator) -> Top:
    cloth = _cloth(rng, (0.26, 0.16, 0.1, 0.14, 0.1, 0.1, 0.08, 0.06))
    neck = NECKS[rng.choice(5, p=(0.34, 0.2, 0.24, 0.12, 0.1))]
    width, depth = {
        "crew": ((0.07, 0.085), (0.065, 0.085)),
        "scoop": ((0.085, 0.115), (0.12, 0.17)),
        "v": ((0.075, 0.10), (0.14, 0.22)),
        "boat": ((0.115, 0.14), (0.06, 0.08)),
        "square": ((0.085, 0.11), (0.10, 0.15)),
    }[neck]
    sleeve = list(SLEEVES)[rng.choice(5, p=(0.16, 0.1, 0.34, 0.12, 0.28))]
    loose = rng.random() < 0.5
    printed = rng.random() < 0.5 and cloth.pattern in (
        "plain",
        "horizontal stripes",
        "blocks",
        "dots",
        "diagonal stripes",
        "vertical stripes",
    )
    return Top(
        cloth=cloth,
        neck=neck,
        neck_width=rng.uniform(*width),
        neck_depth=rng.uniform(*depth),
        sleeve=sleeve,
        sleeve_end=SLEEVES[sleeve] * rng.uniform(0.93, 1.02),
        hem=HEMS[list(HEMS)[rng.choice(4, p=(0.1, 0.25, 0.4, 0.25))]] + rng.uniform(-0.015, 0.015),
        looseness=rng.uniform(0.017, 0.03) if loose else rng.uniform(0.006, 0.015),
        flare=rng.uniform(0.01, 0.035) if loose else rng.uniform(0, 0.006),
        folds=rng.uniform(0.12, 0.3) if loose else rng.uniform(0, 0.12),
        print_name=PRINTS[rng.choice(len(PRINTS))] if printed else None,
        print_height=rng.uniform(0.12, 0.165),
        print_colour=contrasting(rng, cloth.colour),
        trim=rng.random() < 0.3,
        trim_colour=contrasting(rng, cloth.colour),
        sleeve_colour=_colour(rng) if rng.random() < 0.15 else None,
    )


def sample_bottom(rng: np.random.Generator, gender: str) -> Bottom:
    kind = BOTTOMS[rng.choice(3, p=(0.6, 0.3, 0.1) if gender == "male" else (0.4, 0.15, 0.45))]
    if gender == "male" and kind == "skirt":
        kind = "trousers"
    return Bottom(
        kind=kind,
        cloth=_cloth(rng, (0.56, 0.1, 0.06, 0.12, 0.06, 0, 0.06, 0.04)),
        looseness=rng.uniform(0.006, 0.022),
        flare=rng.uniform(1.03, 1.6),
        end={
            "trousers": rng.uniform(-0.77, -0.68),
            "shorts": rng.uniform(-0.38, -0.2),
            "skirt": 9.0,
        }[kind],
        length=rng.uniform(0.35, 0.8),
    )


def sample_outfit(rng: np.random.Generator, gender: str, top: Top | None = None) -> Outfit:
    """Draws an outfit; with `top` given, only what goes with it."""
    return Outfit(
        top=sample_top(rng) if top is None else top,
        bottom=sample_bottom(rng, gender),
        shoe=_colour(rng),
        boot=rng.choice([-0.745, -0.745, -0.70, -0.62]),
    )
