"""Prompts of whole people, faces and hands, as people write them: in parts, in any order.

One generator says everything; the others' random numbers leave out what a prompt may leave out.
"""

from collections.abc import Sequence

import numpy as np

from .captions import describe_cloth

SKIN = ("very light", "light", "medium", "brown", "dark", "very dark")
SAID = {
    "expression": {
        "neutral": ("a neutral expression", "a neutral face"),
        "smile": ("smiling", "a smile"),
        "laugh": ("laughing", "a laugh"),
        "surprised": ("a surprised expression", "surprised"),
        "frown": ("frowning", "a frown"),
        "eyes closed": ("eyes closed", "closed eyes"),
        "open mouth": ("an open mouth",),
    },
}
KEEP = 0.72


class Speaker:
    """Decides what to say: everything without `rng`, otherwise each part with chance KEEP, and
    the parts shuffled."""

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self.rng = rng

    def says(self, share: float = KEEP) -> bool:
        return self.rng is None or self.rng.random() < share

    def choose(self, ways: Sequence[str]) -> str:
        return ways[0 if self.rng is None else self.rng.integers(len(ways))]

    def join(self, start: str, parts: list[str]) -> str:
        if self.rng is not None:
            self.rng.shuffle(parts)
        return ", ".join([start, *parts])


def noun(facts: dict) -> str:
    return {"male": "man", "female": "woman"}[facts["gender"]]


def hair(facts: dict) -> str:
    if facts["hair_style"] == "bald":
        return "a bald head"
    return f"{facts['hair_style']} {facts['hair_colour']} hair"


def _who(facts: dict, say: Speaker, *more: str) -> str:
    words = [facts[name] for name in ("age", *more) if say.says()]
    words.append(noun(facts) if say.says(0.93) else "person")
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def face(facts: dict, say: Speaker) -> str:
    """A face; `facts` as in Portraits.faces."""
    parts = []
    if say.says():
        parts.append(hair(facts))
    if say.says():
        parts.append(f"{SKIN[facts['skin_tone']]} skin")
    if say.says(0.85):
        parts.append(say.choose(SAID["expression"][facts["expression"]]))
    if facts["gender"] == "male" and say.says(0.85 if facts["beard"] != "no beard" else 0.5):
        plain = facts["beard"] in ("no beard", "stubble")
        parts.append(facts["beard"] if plain else f"a {facts['beard']}")
    if say.says(0.85 if facts["glasses"] != "no glasses" else 0.5):
        words = [facts["frame"]] if facts["frame"] and say.says(0.6) else []
        kind = facts["glasses"]
        if kind in ("round glasses", "square glasses") and not say.says(0.75):
            kind = "glasses"
        parts.append(" ".join([*words, kind]))
    if facts["freckles"] and say.says():
        parts.append("freckles")
    if facts["top_share"] > 0.04 and say.says():
        parts.append(f"a {facts['top']['colour']} top")
    return say.join(f"the face of {_who(facts, say)}", parts)


def _looks(facts: dict, say: Speaker, most: int) -> list[str]:
    """Up to `most` things that tell this face from others."""
    parts = [hair(facts)]
    if facts["glasses"] != "no glasses":
        parts.append(facts["glasses"])
    if facts["beard"] not in ("no beard", "stubble"):
        parts.append(f"a {facts['beard']}")
    parts.append(next(way for way in SAID["expression"][facts["expression"]] if " " in way))
    parts.append(f"{SKIN[facts['skin_tone']]} skin")
    if say.rng is not None:
        say.rng.shuffle(parts)
        most = int(say.rng.integers(0, most + 1))
    return parts[:most]


def scene(people: Sequence[dict], place: str, say: Speaker) -> str:
    """One to three people, left to right, before a backdrop of a kind; facts as for a face."""
    said = []
    for facts in people:
        looks = _looks(facts, say, (4, 3, 1)[len(people) - 1])
        said.append(_who(facts, say) + (f" with {' and '.join(looks)}" if looks else ""))
    parts = ["a scene of " + " beside ".join(said)]
    if say.says():
        parts.append(f"a {place.removeprefix('soft ')} background")
    return ", ".join(parts)


def hand(facts: dict, say: Speaker) -> str:
    """A hand; `facts` as in Portraits.hands."""
    side = f"{facts['side']} " if say.says(0.8) else ""
    parts = []
    if say.says():
        parts.append(
            {"pointing": "pointing fingers", "fist": "a fist"}.get(
                facts["gesture"], f"{facts['gesture']} fingers"
            )
        )
    if say.says():
        parts.append(f"{SKIN[facts['skin_tone']]} skin")
    if facts["top_share"] > 0.08 and say.says():
        parts.append(f"a {facts['top']['colour']} top")
    return say.join(f"a {side}hand of {_who(facts, say)}", parts)


def body(facts: dict, frame: str, say: Speaker) -> str:
    """A dressed person; `facts` one of "people" in the attributes of recipe people-1."""
    parts, top, bottom = [], facts["top"], facts["bottom"]
    if say.says():
        parts.append(hair(facts))
    if say.says():
        parts.append(f"{SKIN[facts['skin_tone']]} skin")
    if say.says(0.9):
        cut = [("loose" if top["loose"] else "fitted")] if say.says(0.5) else []
        neck = f" with {top['neck']} neck" if say.says(0.5) else ""
        parts.append(" ".join(["a", *cut, describe_cloth(top), "top"]) + neck)
    if say.says():
        bare = top["sleeve"] == "sleeveless"
        parts.append("no sleeves" if bare else f"{top['sleeve']} sleeves")
    if top["print"] and say.says():
        parts.append(f"the print {top['print']}")
    if say.says(0.8):
        article = "a " if bottom["kind"] == "skirt" else ""
        parts.append(f"{article}{describe_cloth(bottom)} {bottom['kind']}")
    if say.says(0.5):
        parts.append("whole body" if frame == "full" else "head to thigh")
    return say.join(_who(facts, say, "build"), parts)
