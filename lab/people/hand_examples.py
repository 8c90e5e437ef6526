"""A person with both hands before the body, and those hands as bad generators paint them."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation

from . import phrases
from .body import load_body
from .dress import dress
from .masks import mask, repaint_area
from .paint import BOTTOM
from .pose import Angles, sample_pose
from .recipe import recipe_of, stream
from .render import Picture, Scene, take_picture
from .sets import stage
from .truth import joints_in_picture

HANDS = {"seed": 64, "picture": 0, "gestures": [10, 22, 24], "times": 3}
HEIGHT, WIDTH = 128, 96
MARGIN = 4  # pixels around the arms and the top that are painted with them


@dataclass(frozen=True)
class HandExample:
    """small: 96 x 128. large: the same, `times` as large. broken: the large picture u8 [H, W, 3]
    with hands that melt. joints: f32 [18, 3] and hands: f32 [2, 21, 3], in pixels of the large one.
    """

    small: Picture
    large: Picture
    broken: np.ndarray
    joints: np.ndarray
    hands: np.ndarray
    facts: dict

    @property
    def skin(self) -> str:
        """The mean colour of the hands as #rrggbb."""
        return "#" + bytes(np.rint(self.large.image[self.where].mean(0)).astype(int).tolist()).hex()

    @property
    def where(self) -> np.ndarray:
        """bool [H, W], the hands in the large picture."""
        return mask(self.large.label, "hands")

    @property
    def prompt(self) -> str:
        return phrases.body(self.facts, self.facts["frame"], phrases.Speaker())

    @property
    def over_the_hands(self) -> np.ndarray:
        """Where another top may end up, bool [128, 96], and the hands with it: what is easily drawn
        by hand, and what a try-on paints over without further notice.
        """
        label = self.small.label
        hands = binary_dilation(mask(label, "hands"), iterations=MARGIN)
        area = repaint_area(label, self.small.dense_pose, MARGIN) | hands
        return area & ~mask(label, "face") & ~mask(label, "hair") & (label != BOTTOM)


def render_hands(split: str) -> HandExample:
    """Renders the example; bit-identical whenever it is asked for.

    The broken hands show several gestures at once: the mean of pictures that differ in nothing but
    the fingers.
    """
    recipe, body = recipe_of(HANDS["seed"], split), load_body()
    person = dress(body, recipe.people[0], recipe.outfits[0])
    shot = recipe.shots[HANDS["picture"]]
    height, width = HEIGHT * HANDS["times"], WIDTH * HANDS["times"]

    def take(h: int, w: int, fingers: Angles) -> tuple[Scene, Picture]:
        posed = replace(shot, angles={**shot.angles, **fingers})
        scene = stage(replace(recipe, shots=(posed,)), 0, person, h, w)
        return scene, take_picture(scene, (0, 0, w, h), h, w)

    scene, large = take(height, width, {})
    joints, hands = joints_in_picture(scene, large.surface, (0, 0, width, height))
    gestures = [_fingers(stream(split, HANDS["seed"], k)) for k in HANDS["gestures"]]
    mixed = np.mean([take(height, width, one)[1].image for one in gestures], 0)
    return HandExample(
        take(HEIGHT, WIDTH, {})[1],
        large,
        np.rint(mixed).astype(np.uint8),
        joints,
        hands,
        {**recipe.attributes()["people"][0], "frame": recipe.frame},
    )


def _fingers(rng: np.random.Generator) -> Angles:
    return {bone: turns for bone, turns in sample_pose(rng).items() if bone.startswith("finger")}
