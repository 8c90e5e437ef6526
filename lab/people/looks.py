"""How a person looks on one day: expression, beard, glasses, hair; and marks that always stay."""

from dataclasses import dataclass, replace

import numpy as np

from .identity import HAIR_COLOURS, HAIR_STYLES, Identity

EXPRESSIONS = ("neutral", "smile", "laugh", "surprised", "frown", "eyes closed")
BEARDS = ("no beard", "stubble", "moustache", "goatee", "full beard")
GLASSES = ("no glasses", "round glasses", "square glasses", "sunglasses")
FRAMES = {
    "black": (0.05, 0.05, 0.06),
    "brown": (0.33, 0.18, 0.09),
    "red": (0.65, 0.09, 0.10),
    "blue": (0.12, 0.22, 0.60),
    "golden": (0.80, 0.62, 0.22),
}
_ODDS = {
    "expression": (0.26, 0.22, 0.15, 0.13, 0.14, 0.10),
    "beard": (0.34, 0.18, 0.12, 0.12, 0.24),
    "glasses": (0.55, 0.15, 0.15, 0.15),
}
_CHANGES = {"beard": 0.4, "glasses": 0.35, "hair_colour": 0.25, "hair_style": 0.2}


@dataclass(frozen=True)
class Look:
    """What is painted on a face beyond its identity; places are pixels of the face's atlas."""

    beard: str
    beard_volume: float  # metres off the skin
    beard_colour: np.ndarray
    glasses: str
    frame: str
    frame_width: float  # metres, half of the rim
    marks: np.ndarray  # [n, 3] moles: u, v, radius
    freckles: float  # strength 0..1
    wrinkles: float  # strength 0..1

    def attributes(self) -> dict:
        frame = self.frame if self.glasses not in ("no glasses", "sunglasses") else None
        return {"beard": self.beard, "glasses": self.glasses, "frame": frame}


def _draw(rng: np.random.Generator, names: tuple[str, ...], odds: tuple[float, ...]) -> str:
    return names[rng.choice(len(names), p=odds)]


def _actions(rng: np.random.Generator, expression: str) -> dict[str, float]:
    """anny's facial actions of an expression, in varied strength."""
    s = rng.uniform(0.75, 1.05)
    both = {
        "neutral": {},
        "smile": {"mouthSmile": 1.0, "mouthDimple": 0.5, "cheekSquint": 0.5},
        "laugh": {"mouthSmile": 1.0, "cheekSquint": 0.5, "mouthUpperUp": 0.5},
        "surprised": {"eyeWide": 1.0, "browOuterUp": 1.0},
        "frown": {"mouthFrown": 1.0, "browDown": 1.0, "noseSneer": 0.3},
        "eyes closed": {"eyeBlink": 1.0},
    }[expression]
    alone = {"laugh": {"jawOpen": 0.45}, "surprised": {"jawOpen": 0.6, "browInnerUp": 1.0}}
    out = {name: value * s for name, value in alone.get(expression, {}).items()}
    for name, value in both.items():
        value = 1.0 if name == "eyeBlink" else value * s
        out |= {f"{name}Left": value, f"{name}Right": value}
    return out


def _beard_volume(rng: np.random.Generator, beard: str) -> float:
    low, high = {"full beard": (0.006, 0.016), "goatee": (0.004, 0.01)}.get(beard, (0.0, 0.0))
    return rng.uniform(low, high)


def usual_look(rng: np.random.Generator, who: Identity) -> Look:
    """The look that somebody mostly has; women get no beard."""
    beard = _draw(rng, BEARDS, _ODDS["beard"])
    count = rng.choice(3, p=(0.55, 0.3, 0.15))
    frames = tuple(FRAMES)
    return Look(
        beard=beard if who.gender == "male" else BEARDS[0],
        beard_volume=_beard_volume(rng, beard),
        beard_colour=who.hair * rng.uniform(0.7, 0.95),
        glasses=_draw(rng, GLASSES, _ODDS["glasses"]),
        frame=frames[rng.choice(len(frames), p=(0.4, 0.2, 0.13, 0.14, 0.13))],
        frame_width=rng.uniform(0.002, 0.0034),
        marks=np.stack(
            [
                rng.uniform(865, 950, count),
                527 + rng.choice((-1, 1), count) * rng.uniform(28, 90, count),
                rng.uniform(2.2, 3.6, count),
            ],
            1,
        ),
        freckles=rng.uniform(0.5, 1.0) if who.skin_tone < 3 and rng.random() < 0.18 else 0.0,
        wrinkles={"young": 0.0, "middle-aged": 0.35, "older": 0.9}[who.age] * rng.uniform(0.6, 1.1),
    )


def look_today(rng: np.random.Generator, who: Identity, usual: Look) -> tuple[Identity, Look]:
    """One picture's variant: another expression each time, now and then another beard, glasses,
    hair colour or cut. Shape of the head, skin, eyes, brows and marks stay."""
    expression = _draw(rng, EXPRESSIONS, _ODDS["expression"])
    change = {name: rng.random() < share for name, share in _CHANGES.items()}
    beard, glasses = (
        _draw(rng, BEARDS, _ODDS["beard"]),
        _draw(rng, GLASSES, (0.4, 0.2, 0.2, 0.2)),
    )
    colours = tuple(HAIR_COLOURS)
    colour, style = colours[rng.integers(len(colours))], HAIR_STYLES[rng.integers(5)]
    tint, length = rng.uniform(0.85, 1.15), rng.uniform(0, 1)
    frames = tuple(FRAMES)
    frame = frames[rng.integers(len(frames))]
    volume = _beard_volume(rng, beard)
    actions = _actions(rng, expression)
    if change["hair_colour"]:
        hair = np.clip(np.array(HAIR_COLOURS[colour]) * tint, 0, 1)
        who = replace(who, hair_colour=colour, hair=hair)
        usual = replace(usual, beard_colour=hair * 0.8)
    if change["hair_style"]:
        low, high = (0.24, 0.30) if style == "bob" else (0.34, 0.5)
        who = replace(who, hair_style=style, hair_length=low + length * (high - low))
    if change["beard"] and who.gender == "male":
        usual = replace(usual, beard=beard, beard_volume=volume)
    if change["glasses"]:
        usual = replace(usual, glasses=glasses, frame=frame)
    return replace(who, expression=expression, actions=actions, look=usual), usual
