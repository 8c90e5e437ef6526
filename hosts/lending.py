"""A host's frozen model, lent to what trains beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..methods.person_adapter import WORD
from ..methods.personalize import Base
from ..methods.pva import ROOMS, Projections
from .training import usable

SIDE = 512


def layers(host: Any, model: Any) -> dict[str, Projections]:
    """The cross-attentions' own projections. Raises ValueError for a model that reads no text."""
    found = host.cross_attention_weights(model)
    if not found:
        raise ValueError(
            "Expected a model that reads text; this one has no cross-attention, to which the "
            "identity could be added. Connect the MODEL of Load Inpaint Model, or of Load "
            "Checkpoint with an inpainting checkpoint."
        )
    return {layer: Projections(*(own[room] for room in ROOMS)) for layer, own in found.items()}


@contextmanager
def lend(host: Any, model: Any, clip: Any, vae: Any) -> Iterator[Base]:
    """The model as `methods.personalize` wants it; inside, gradients are on."""
    config = host.model_config(model)
    scale, factor = config["latent_scale"], config["downscale"]
    side = config["sizes"]["face"] if "sizes" in config else [min(n, SIDE) for n in config["size"]]

    def encode(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return usable(vae.encode(pictures)) * scale

    def paint(pictures: Tensor, region: Tensor) -> Tensor | None:
        with torch.no_grad():
            return host.repaint_channels(model, usable(vae.encode(pictures)), region)

    def speak(prompts: Sequence[str], word: Tensor | None) -> Tensor:
        return host.encode_text(clip, prompts, None if word is None else {WORD: word})

    with host.differentiable(model) as predict:
        yield Base(
            predict=predict,
            speak=speak,
            encode=encode,
            paint=paint,
            sigmas=usable(host.noise_table(model)),
            prediction=config["prediction"],
            size=tuple(n // factor * factor for n in side),
            layers=layers(host, model),
            words=host.knows_words(clip),
        )
