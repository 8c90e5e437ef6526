"""The example inputs of the workflows, with their ground truth.

`python -m mannequin.lab.people.examples workflows/inputs` writes them again, bit for bit.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from scipy.ndimage import binary_dilation

from . import phrases
from .body import load_body
from .dress import dress
from .estimator import degrade_dense_pose
from .folder import save_png
from .groups import HEIGHT, WIDTH, draw_scene, plan_scene
from .hand_examples import HANDS, render_hands
from .masks import mask, repaint_area
from .portraits import VERSION as PORTRAITS
from .portraits import render_face, render_portraits
from .pose import sample_pose
from .recipe import VERSION, Shot, recipe_of, stream
from .render import Picture, take_picture
from .sets import PersonSet, render_in_other_outfit, render_set, stage
from .truth import joints_in_picture
from .wardrobe import Outfit, recorded

SPLIT = "heldout"
POSE_TRANSFER = {"seed": 61, "person": 0, "second": 1, "target": 2}
POSE_SHEET = {"seed": 61, "stream": 9, "poses": 9, "turn": 55.0}
TRY_ON = {"seed": 47, "garment": 1, "target": 3, "worn_top_from_seed": 30}
PORTRAIT = {"seed": 41, "picture": 0, "second": 1, "third": 2}
OTHER = {"seed": 44, "picture": 1, "second": 5}
PAIR = {"a": (41, 5), "b": (44, 3)}  # seed and picture of who stands left and right
THIRD = {"seed": 53, "picture": 0, "second": 1}
SCENE = {"seed": 3, "a": (41, 5), "b": (44, 3)}  # of the plan; seed and picture, left and right
WIDER = 1.5  # than a close-up
MARGIN = 3  # pixels around the face that are painted with it


def estimated(dense_pose: np.ndarray) -> np.ndarray:
    """The dense pose as an imperfect estimator would give it: users have no better one."""
    truth = torch.from_numpy(dense_pose)[None]
    return degrade_dense_pose(truth, torch.Generator().manual_seed(0))[0].numpy()


def openpose(
    poses: np.ndarray, height: int, width: int, hands: np.ndarray | None = None
) -> list[dict]:
    """Poses [P, 18, 3], and hands [P, 2, 21, 3] (left, right), as OpenPose saves them, a frame for
    each. A joint that something hides is half as sure as one that is seen; those outside of the
    picture are not known.
    """

    def told(points: np.ndarray) -> list[float]:
        inside = ((points[:, :2] >= 0) & (points[:, :2] < (width, height))).all(1)
        sure = np.where(points[:, 2] > 0, 1.0, 0.5) * inside
        flat = np.concatenate([points[:, :2] * inside[:, None], sure[:, None]], 1).round(1)
        return flat.ravel().tolist()

    frames = []
    for number, points in enumerate(poses):
        person = {"pose_keypoints_2d": told(points)}
        for k, side in enumerate(() if hands is None else ("left", "right")):
            person[f"hand_{side}_keypoints_2d"] = told(hands[number, k])
        frames.append({"people": [person], "canvas_width": width, "canvas_height": height})
    return frames


def _save_json(path: Path, content: list[dict]) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def nine_poses() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pose-transfer person in nine more poses, turned further than any that was trained on:
    pictures and dense poses u8 [9, H, W, 3], joints f32 [9, 18, 3].
    """
    recipe, body = recipe_of(POSE_SHEET["seed"], SPLIT), load_body()
    person = dress(body, recipe.people[0], recipe.outfits[0])
    shots = []
    for k in range(POSE_SHEET["poses"]):
        rng = stream(SPLIT, POSE_SHEET["seed"], POSE_SHEET["stream"], k)
        shot = Shot(sample_pose(rng, POSE_SHEET["turn"]), np.zeros(2), 1.06)
        scene = stage(replace(recipe, shots=(shot,)), 0, person, 128, 96)
        picture = take_picture(scene, (0, 0, 96, 128), 128, 96)
        joints, _ = joints_in_picture(scene, picture.surface, (0, 0, 96, 128))
        shots.append((picture.image, picture.dense_pose, joints))
    return tuple(np.stack(one) for one in zip(*shots, strict=True))


def _pose_sheet(out: Path) -> dict:
    """Nine dense poses as the frames of one animated PNG, which Load Image gives as a batch."""
    _, dense_poses, joints = nine_poses()
    truth = torch.from_numpy(dense_poses)
    frames = degrade_dense_pose(truth, torch.Generator().manual_seed(0)).numpy()
    first, *more = (Image.fromarray(frame) for frame in frames)
    first.save(
        out / "person_a_nine_poses.png",
        save_all=True,
        append_images=more,
        duration=600,
        disposal=PngImagePlugin.Disposal.OP_NONE,
        blend=PngImagePlugin.Blend.OP_SOURCE,
    )
    _save_json(out / "person_a_nine_poses.json", openpose(joints, 128, 96))
    return {
        "recipe": {"split": SPLIT, "version": VERSION, **POSE_SHEET},
        "target_keypoints": joints.tolist(),
    }


def _pose_transfer(out: Path) -> tuple[dict, dict]:
    person = render_set(POSE_TRANSFER["seed"], SPLIT)
    first, second, target = (POSE_TRANSFER[k] for k in ("person", "second", "target"))
    for name, k in (("person_a", first), ("person_a_second", second)):
        save_png(out / f"{name}.png", person.image[k])
        save_png(out / f"{name}_dense_pose.png", estimated(person.dense_pose[k]))
    save_png(out / "person_a_target_pose.png", estimated(person.dense_pose[target]))
    save_png(out / "person_a_target.png", person.image[target])
    _save_json(
        out / "person_a_target_pose.json", openpose(person.keypoints[target : target + 1], 128, 96)
    )
    arrays = _arrays(person, "pose_transfer", first, target)
    second_arrays = _arrays(person, "pose_transfer_second", second, target)
    return {**arrays, **second_arrays}, _facts(person, POSE_TRANSFER, first, target)


def before_try_on() -> Picture:
    """Person B before the try-on: the target's person, pose, camera and place in another top."""
    recipe = recipe_of(TRY_ON["seed"], SPLIT)
    wearer = recipe.wearer(TRY_ON["target"])
    outfit = recipe.outfits[wearer]
    other = recipe_of(TRY_ON["worn_top_from_seed"], SPLIT).outfits[0].top
    before = Outfit(other, outfit.bottom, outfit.shoe, outfit.boot)
    return render_in_other_outfit(recipe, TRY_ON["target"], before)[0]


def _try_on(out: Path) -> tuple[dict, dict]:
    person, before = render_set(TRY_ON["seed"], SPLIT), before_try_on()
    garment, target = TRY_ON["garment"], TRY_ON["target"]
    area = repaint_area(before.label, before.dense_pose)
    save_png(out / "person_b.png", before.image)
    save_png(out / "person_b_dense_pose.png", estimated(before.dense_pose))
    save_png(out / "person_b_garment_mask.png", area)
    save_png(out / "person_b_hands_mask.png", mask(before.label, "hands"))
    save_png(out / "person_b_target.png", person.image[target])
    save_png(out / "garment_c.png", person.image[garment])
    save_png(out / "garment_c_dense_pose.png", estimated(person.dense_pose[garment]))
    arrays = _arrays(person, "try_on", garment, target)
    arrays |= {"try_on_person_label": before.label, "try_on_repaint": area}
    facts = _facts(person, TRY_ON, garment, target)
    facts["top"] = recorded(recipe_of(TRY_ON["seed"], SPLIT).outfits[0].top)
    return arrays, facts


def _around_face(label: np.ndarray) -> np.ndarray:
    return binary_dilation(mask(label, "face"), np.ones((3, 3)), MARGIN)


def _portraits(out: Path) -> dict:
    """A close-up and the face in it as a mask; more pictures of that person, and of another."""
    person, k = render_portraits(PORTRAIT["seed"], SPLIT), PORTRAIT["picture"]
    save_png(out / "portrait_a.png", person.face_image[k])
    save_png(out / "portrait_a_face_mask.png", _around_face(person.face_label[k]))
    for name in ("second", "third"):
        save_png(out / f"portrait_a_{name}.png", person.face_image[PORTRAIT[name]])
    for name, number in (("portrait_b", "picture"), ("portrait_b_second", "second")):
        save_png(out / f"{name}.png", render_face(OTHER["seed"], SPLIT, OTHER[number])[0])
    return {
        "recipe": {"split": SPLIT, "version": PORTRAITS, **PORTRAIT},
        "attributes": person.faces[k],
        "caption": phrases.face(person.faces[k], phrases.Speaker()),
    }


def _pair(out: Path) -> dict:
    """The two people side by side, and a mask of each one's face."""
    shots = {who: render_face(seed, SPLIT, k, WIDER) for who, (seed, k) in PAIR.items()}
    save_png(out / "pair_ab.png", np.concatenate([image for image, _, _ in shots.values()], 1))
    for who in shots:
        faces = [_around_face(label) & (other == who) for other, (_, label, _) in shots.items()]
        save_png(out / f"pair_ab_mask_{who}.png", np.concatenate(faces, 1))
    return {
        "recipe": {"split": SPLIT, "version": PORTRAITS, "wider": WIDER, **PAIR},
        "references": {"a": PORTRAIT, "b": OTHER},
        "attributes": {who: facts for who, (_, _, facts) in shots.items()},
    }


def _scene(out: Path) -> dict:
    """The two people before one backdrop, and a mask of each; a third person; for scenes that are
    painted from nothing an empty picture, and a mask of all of it.
    """
    shots = [render_face(seed, SPLIT, k) for seed, k in (SCENE["a"], SCENE["b"])]
    plan = plan_scene(np.random.default_rng(SCENE["seed"]), (0, 1))
    images, labels = (torch.from_numpy(np.stack([s[i] for s in shots])) for i in (0, 1))
    picture, owner = draw_scene(plan, images, labels)
    save_png(out / "scene_ab.png", picture.numpy())
    for number, who in enumerate("ab", 1):
        around = binary_dilation(owner.numpy() == number, np.ones((3, 3)), MARGIN)
        save_png(out / f"scene_ab_mask_{who}.png", around)
    save_png(out / "scene_empty.png", np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    save_png(out / "scene_mask_all.png", np.ones((HEIGHT, WIDTH), bool))
    for name, number in (("portrait_c", "picture"), ("portrait_c_second", "second")):
        save_png(out / f"{name}.png", render_face(THIRD["seed"], SPLIT, THIRD[number])[0])
    return {
        "recipe": {"split": SPLIT, "version": PORTRAITS, **SCENE},
        "references": {"a": PORTRAIT, "b": OTHER, "c": THIRD},
        "attributes": {who: facts for who, (_, _, facts) in zip("ab", shots, strict=True)},
        "backdrop": plan.place.kind,
    }


def _hands(out: Path) -> dict:
    """A person with both hands before the body, in two sizes, the larger one with hands that want
    repair; where both hands are, and a mask that covers top, arms and hands.
    """
    made = render_hands(SPLIT)
    save_png(out / "person_c.png", made.small.image)
    save_png(out / "person_c_dense_pose.png", estimated(made.small.dense_pose))
    save_png(out / "person_c_arms_mask.png", made.over_the_hands)
    save_png(out / "person_c_broken_hands.png", made.broken)
    save_png(out / "person_c_target.png", made.large.image)
    size = made.broken.shape[:2]
    _save_json(out / "person_c_hands.json", openpose(made.joints[None], *size, made.hands[None]))
    return {
        "recipe": {"split": SPLIT, "version": VERSION, **HANDS},
        "attributes": made.facts,
        "caption": made.prompt,
        "skin": made.skin,
        "target_keypoints": made.joints.tolist(),
        "target_hands": made.hands.tolist(),
    }


def _arrays(person: PersonSet, name: str, source: int, target: int) -> dict[str, np.ndarray]:
    pair = person.pairs.tolist().index([source, target])
    return {
        f"{name}_flow": person.flow[pair],
        f"{name}_visible": person.visible[pair],
        f"{name}_label": person.label[target],
    }


def _facts(person: PersonSet, recipe: dict, source: int, target: int) -> dict:
    return {
        "recipe": {"split": SPLIT, "version": VERSION, **recipe},
        "attributes": person.attributes,
        "source_caption": person.captions[source],
        "target_caption": person.captions[target],
        "target_keypoints": person.keypoints[target].tolist(),
        "target_hands": person.hands[target].tolist(),
    }


def write_examples(out: Path) -> None:
    """Writes the example pictures, truth.json and truth.npz into `out`.

    truth.npz holds for pose_transfer, pose_transfer_second and try_on: _flow f32 [H, W, 2] from
    the target picture into the reference (-1..1 from edge to edge, NaN off the person), _visible
    bool [H, W], _label u8 [H, W] of the target; for try_on also _person_label and _repaint.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    arrays, facts = {}, {}
    for name, make in (("pose_transfer", _pose_transfer), ("try_on", _try_on)):
        more, facts[name] = make(out)
        arrays |= more
    facts["pose_sheet"] = _pose_sheet(out)
    facts["inpaint_with_words"] = _portraits(out)
    facts["face_inpaint"] = _pair(out)
    facts["swap_subject"] = _scene(out)
    facts["hands"] = _hands(out)
    np.savez_compressed(out / "truth.npz", **arrays)
    (out / "truth.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m mannequin.lab.people.examples FOLDER")
    write_examples(Path(sys.argv[1]))
