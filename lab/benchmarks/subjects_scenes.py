"""Held-out people put into other people's places in held-out scenes, and who is recognised there.

The model is shown the scene without its people and paints them from pure noise; nothing says which
place is whose but the order of the words. Or it paints the whole picture: then the noise starts
from silhouettes of two others in one colour, so that it is known where people stand. DENOISE is
the most noise of 0.8, 0.87 and 0.93 behind which the prior was seen to leave people in these
places; with the others' own colours below it, or with less noise, hair and skin are theirs whoever
is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...hosts import diffusers as host
from ...hosts.routers import read_router
from ...methods.moa import Bound, MoA, Subject
from ...methods.moa_weights import MoAWeights
from ..people.groups import HEIGHT, WIDTH, Plan
from ..people.portraits import FACES
from ..training.inpaint_data import Pool
from ..training.moa_scenes import around_people, embedding_of, noun_places, plain_caption
from ..training.pva_tiny import face_vectors, load_face_net
from ..training.scene_data import ScenePool

STEPS, SCALE, DENOISE = 20, 2.0, 0.87  # sampling steps, guidance, noise over silhouettes
PAINTED = 4  # pixels around people that are painted with them
GROWN = 3  # pixels around people that count neither as them nor as background
CROP = 64
REFERENCES = slice(1, None)


@dataclass
class Stage:
    """The models, the held-out people and what the face network makes of them."""

    model: Any
    clip: Any
    vae: Any
    router: MoAWeights
    judge: nn.Module
    scenes: ScenePool
    vectors: Tensor  # [pictures, 2, D]
    likenesses: Tensor  # the judge's, normalised, [people, references, D]

    @property
    def faces(self) -> Pool:
        return self.scenes.faces

    def subject(self, word: str, person: int) -> Subject:
        """A person with the references, as Subject takes them."""
        mine = self.vectors[person * FACES : (person + 1) * FACES, 0]
        return Subject(word, embedding_of(mine[REFERENCES]))

    def bind(self, prompt: str, people: Sequence[int]) -> list[Bound]:
        """Each person bound to a word of the prompt, in order."""
        places = noun_places(self.clip.tokenizer, prompt)
        return [
            Bound(self.subject(word, person), (token,))
            for (word, token), person in zip(places, people, strict=True)
        ]

    def speak(self, prompts: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return host.encode_text(self.clip, prompts)


@dataclass
class Cast:
    """Scenes to paint: their pictures with silhouettes of the people [N, 64, 128, 3], 0..1, whose
    place every pixel is [N, 64, 128] (0 nobody's), their plans, prompts, and who is to be there
    instead.
    """

    picture: Tensor
    owner: Tensor
    plans: list[Plan]
    prompts: list[str]
    people: list[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.plans)

    def background(self) -> Tensor:
        """[N, 64, 128] bool: nobody and not beside anybody."""
        return torch.stack([around_people(one, GROWN, box=False) == 0 for one in self.owner])

    def places(self) -> Tensor:
        """[N, 64, 128], 1 where people are to be painted."""
        return torch.stack([around_people(one, PAINTED, box=False) for one in self.owner])

    def some(self, rows: Sequence[int]) -> Cast:
        rows = list(rows)
        picked = ([of[row] for row in rows] for of in (self.plans, self.prompts, self.people))
        return Cast(self.picture[rows], self.owner[rows], *picked)


def load_stage(files: Sequence[Path], judge: Path, portraits: Path) -> Stage:
    """From the base's, the router's and the face network's file. Raises ValueError for a router of
    another model.
    """
    base, router, faces = files
    model, clip, vae = host.load_inpaint_model(base)
    pool = Pool("face", portraits)
    net = load_face_net(judge)
    embedded = [face_vectors(one, pool) for one in (load_face_net(faces), net)]
    likenesses = F.normalize(embedded[1][:, 0].unflatten(0, (-1, FACES))[:, REFERENCES], dim=-1)
    return Stage(
        model, clip, vae, read_router(router), net, ScenePool(pool), embedded[0], likenesses
    )


def draw_cast(stage: Stage, count: int, seed: int) -> Cast:
    """The first `count` scenes of two people; each gives their place to somebody of the same
    gender and leaves a silhouette in the mean colour of all. Scenes for which there is nobody are
    left out.
    """
    rng = np.random.default_rng(seed)
    facts = stage.faces.facts
    gender = [facts[person * FACES]["gender"] for person in range(len(facts) // FACES)]
    rows: list[tuple] = []
    for index in range(len(stage.scenes)):
        plan = stage.scenes.plan(index)
        if len(plan.portraits) != 2 or len(rows) == count:
            continue
        shown = [portrait // FACES for portrait in plan.portraits]
        chosen: list[int] = []
        for person in shown:
            others = [
                p
                for p, g in enumerate(gender)
                if g == gender[person] and p not in (*shown, *chosen)
            ]
            chosen += [int(rng.choice(others))] if others else []
        if len(chosen) < 2:
            continue
        prompt = plain_caption([facts[p * FACES] for p in chosen], plan.place.kind)
        image, owner = stage.scenes.take(torch.tensor([index]))
        rows.append((image[0].float() / 255, owner[0], plan, prompt, tuple(chosen)))
    if not rows:
        raise ValueError("Expected scenes of two people who can be replaced; found none.")
    images, owners, plans, prompts, people = zip(*rows, strict=True)
    picture, owner = torch.stack(images), torch.stack(owners)
    picture[owner > 0] = picture[owner > 0].mean(0)
    return Cast(picture, owner, list(plans), list(prompts), list(people))


@torch.inference_mode()
def paint(
    stage: Stage, cast: Cast, seed: int, method: MoA | None = None, everything: bool = False
) -> Tensor:
    """Samples every scene of a cast as one batch, [N, 64, 128, 3]: the people in the given scene,
    or everything.
    """
    rows = len(cast)
    region = torch.ones(rows, HEIGHT, WIDTH) if everything else cast.places()
    hidden = region.unsqueeze(-1)
    shown = cast.picture * (1 - hidden) + 0.5 * hidden
    told = {"concat_latent_image": stage.vae.encode(shown), "concat_mask": region.unsqueeze(1)}
    model = stage.model if method is None else host.patch(stage.model, method)
    out = host.sample(
        model,
        seed,
        STEPS,
        SCALE,
        "euler",
        "normal",
        [[stage.speak(cast.prompts), told]],
        [[stage.speak([""] * rows), told]],
        {"samples": stage.vae.encode(cast.picture if everything else shown)},
        DENOISE if everything else 1.0,
    )
    return stage.vae.decode(out["samples"]).clamp(0, 1).clone()


def bound_of(stage: Stage, cast: Cast, masked: bool = False) -> list[list[Bound]]:
    """Who is bound to which word, for every scene; masked: with the place of each as a mask."""
    out = [
        stage.bind(prompt, people) for prompt, people in zip(cast.prompts, cast.people, strict=True)
    ]
    if not masked:
        return out
    return [
        [
            replace(bound, subject=replace(bound.subject, mask=(owner == who + 1).float()))
            for who, bound in enumerate(row)
        ]
        for row, owner in zip(out, cast.owner, strict=True)
    ]


def portrait_of(picture: Tensor, plan: Plan, who: int) -> Tensor:
    """What a scene [64, 128, 3] shows in the window of one of its portraits, [3, 64, 64], -1..1;
    beyond the edge it goes on as at the edge.
    """
    side, left = plan.sides[who], plan.lefts[who]
    wide = F.pad(picture.movedim(-1, 0)[None], (CROP, CROP, 0, 0), mode="replicate")
    window = wide[:, :, HEIGHT - side :, left + CROP : left + CROP + side]
    return F.interpolate(window, (CROP, CROP), mode="bilinear", antialias=True)[0] * 2 - 1


@torch.inference_mode()
def likeness(stage: Stage, cast: Cast, painted: Tensor) -> Tensor:
    """Mean cosine of each painted face to everybody's references in its scene: [N, 2, 2], painted
    place by person.
    """
    crops = [
        portrait_of(picture, plan, who)
        for picture, plan in zip(painted, cast.plans, strict=True)
        for who in range(2)
    ]
    faces = F.normalize(stage.judge(torch.stack(crops)), dim=-1).unflatten(0, (-1, 2))
    references = stage.likenesses[torch.tensor(cast.people)]
    return torch.einsum("npd,nqrd->npqr", faces, references).mean(-1).clone()


def own_likeness(scores: Tensor) -> Tensor:
    """[N, 2] of what `likeness` gives: to their own references."""
    return scores.diagonal(dim1=1, dim2=2)


def told_apart(scores: Tensor) -> float:
    """The share of painted people who are more like their own references than the other's."""
    own = own_likeness(scores)
    return float((own > scores.sum(2) - own).float().mean())
