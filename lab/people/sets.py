"""A set of four pictures with all its truth: the entry point of the synthetic people."""

from dataclasses import dataclass

import numpy as np

from .body import load_body
from .camera import frame_person
from .captions import caption
from .crops import Crops, take_crops
from .dress import Person, dress
from .recipe import PICTURES, Recipe, recipe_of
from .render import Picture, Scene, build_scene, see_surface, take_picture
from .truth import flow_between, joints_in_picture
from .wardrobe import Outfit

PAIRS = np.array([(s, t) for s in range(PICTURES) for t in range(PICTURES) if s != t], np.int64)


@dataclass(frozen=True)
class PersonSet:
    """Pictures 0..2 show person P in three poses; picture 3 shows Q in another pose, in P's top.

    Flow and visibility follow `pairs` (source, target): for the centre of each pixel of the target,
    where that place of body or cloth is in the source, -1..1 from edge to edge, NaN where there is
    none.  h, w is H, W, or half of it when asked for.
    """

    image: np.ndarray  # u8 [4, H, W, 3]
    dense_pose: np.ndarray  # u8 [4, H, W, 3]
    label: np.ndarray  # u8 [4, H, W]
    keypoints: np.ndarray  # f32 [4, 18, 3]
    hands: np.ndarray  # f32 [4, 2, 21, 3]
    pairs: np.ndarray  # i64 [12, 2]
    flow: np.ndarray  # f32 [12, h, w, 2]
    visible: np.ndarray  # bool [12, h, w]
    captions: list[str]
    attributes: dict
    crops: Crops | None = None


def _check_size(height: int, width: int) -> None:
    for name, value in (("height", height), ("width", width)):
        if not isinstance(value, int | np.integer) or not 16 <= value <= 2048:
            raise ValueError(
                f"{name} must be a whole number of pixels from 16 to 2048, got {value!r}"
            )


def stage(
    recipe: Recipe,
    picture: int,
    person: Person,
    height: int,
    width: int,
    cull_to_frame: bool = True,
) -> Scene:
    """Puts a dressed person into pose, camera and background of one picture of the set."""
    body, shot = load_body(), recipe.shots[picture]
    return build_scene(
        body,
        person,
        shot.angles,
        lambda joints: frame_person(
            body, joints, recipe.frame, shot.shift, shot.zoom, height, width
        ),
        recipe.backdrops[recipe.wearer(picture)],
        cull_to_frame,
    )


def render_in_other_outfit(
    recipe: Recipe, picture: int, outfit: Outfit, height: int = 128, width: int = 96
) -> tuple[Picture, Scene]:
    """The person of `picture`, in the same pose, camera, light and place, dressed in `outfit`."""
    _check_size(height, width)
    person = dress(load_body(), recipe.people[recipe.wearer(picture)], outfit)
    scene = stage(recipe, picture, person, height, width)
    return take_picture(scene, (0, 0, width, height), height, width), scene


def render_set(
    seed: int,
    split: str,
    height: int = 128,
    width: int = 96,
    crops: bool = False,
    half_flow: bool = False,
) -> PersonSet:
    """Renders the set of a seed; bit-identical whenever it is asked for.

    `split` is "train" or "heldout", which never share a random stream.  With `crops`, every
    picture also gets 64 x 64 crops of face and hands with the same truth; with `half_flow`, flow
    and visibility are those of a grid of half the resolution, exact at its own pixel centres.
    Raises ValueError for an unknown split, a negative seed or an impossible size.
    """
    _check_size(height, width)
    recipe, body = recipe_of(seed, split), load_body()
    wearers = [dress(body, *pair) for pair in zip(recipe.people, recipe.outfits, strict=True)]
    whole = (0, 0, width, height)
    scenes = [
        stage(recipe, k, wearers[recipe.wearer(k)], height, width, not crops)
        for k in range(PICTURES)
    ]
    pictures = [take_picture(scene, whole, height, width) for scene in scenes]
    surfaces = [p.surface for p in pictures]
    joints = [joints_in_picture(s, p, whole) for s, p in zip(scenes, surfaces, strict=True)]
    targets = surfaces
    if half_flow:
        targets = [see_surface(s, whole, height // 2, width // 2) for s in scenes]
    flows = [flow_between(targets[t], surfaces[s], scenes[s]) for s, t in PAIRS]
    return PersonSet(
        image=np.stack([p.image for p in pictures]),
        dense_pose=np.stack([p.dense_pose for p in pictures]),
        label=np.stack([p.label for p in pictures]),
        keypoints=np.stack([j[0] for j in joints]),
        hands=np.stack([j[1] for j in joints]),
        pairs=PAIRS.copy(),
        flow=np.stack([f for f, _ in flows]),
        visible=np.stack([v for _, v in flows]),
        captions=[caption(recipe, k) for k in range(PICTURES)],
        attributes=recipe.attributes(),
        crops=take_crops(scenes) if crops else None,
    )
