"""What training inside a graph needs of the embedded host's models; `comfy_training` has the same.

Nodes run without gradients, inside torch.inference_mode: `differentiable` opens a place where
gradients reach a method's own parameters. The model's weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..methods.site import Method
from . import prompts
from .inpaint import as_many, check_text, concat_of
from .sites import Call
from .training import training_step, usable

if TYPE_CHECKING:
    from .diffusers import PersonModel
    from .networks import Clip

Predict = Callable[[Tensor, Tensor, Tensor, Tensor | None, Sequence[Method]], Tensor]


@contextmanager
def differentiable(model: PersonModel) -> Iterator[Predict]:
    """Gives predict(x, sigma, text, concat, methods) -> x0 [B, C, h, w], with gradients.

    x: [B, C, h, w], x0 + sigma noise, latents times the model's latent_scale. sigma: [B], a noise
    level per row. text: [1 or B, L, width]. concat: [1 or B, K, h, w], see `repaint_channels`, or
    None. methods: those that act, and no other, at every noise level, whatever part of a sampling
    they are made for. All rows share one Step: conditional, progress 0, and the rows' mean sigma.

    Inside, torch.inference_mode is off and gradients are on; both are as before afterwards.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield partial(_predict, model)


def _predict(
    model: PersonModel,
    x: Tensor,
    sigma: Tensor,
    text: Tensor,
    concat: Tensor | None,
    methods: Sequence[Method],
) -> Tensor:
    x, sigma, text = usable(x), usable(sigma).float(), usable(text)
    step = training_step(sigma)
    for method in methods:
        method.prepare(step, None)
    t = torch.tensor([model.schedule.timestep(s) for s in sigma.tolist()])
    levels = sigma.view(-1, 1, 1, 1)
    seen = x / (levels.square() + 1).sqrt()
    if concat is not None:
        seen = torch.cat([seen, usable(concat).expand(len(x), -1, -1, -1)], 1)
    text = check_text(text, model.config["unet"]["cross_attention_dim"])
    text = as_many(text, len(x), "texts")
    call = Call(step, tuple(x.shape[-2:]), tuple(methods))
    predicted = model.unet.forward(seen, t, call, text)
    return predicted if model.config["prediction"] == "sample" else x - levels * predicted


def cross_attention_weights(model: PersonModel) -> dict[str, dict[str, Tensor]]:
    """{layer id: {"to_q": [inner, C], "to_k": [inner, width], "to_v": [inner, width]}}, copies in
    float32. A model that reads no text has none.
    """
    with torch.inference_mode(False), torch.no_grad():
        return {
            layer: {
                room: getattr(attention, room).weight.float().clone()
                for room in ("to_q", "to_k", "to_v")
            }
            for layer, attention in model.unet.cross_attentions().items()
        }


def encode_text(
    clip: Clip, texts: Sequence[str], learned: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Prompts -> [B, L, width]. learned: words like <new1> and the embeddings [width] that take
    their place; gradients reach them where gradients are on.
    """
    with torch.inference_mode(False):
        rows = [prompts.tokens(clip.tokenizer, text, learned) for text in texts]
        return prompts.encode(clip.encoder, rows)


def repaint_channels(model: PersonModel, picture: Tensor, mask: Tensor) -> Tensor:
    """The channels beside the noisy latent [B, 1 + C, h, w].

    picture: [B, C, h, w], the latent of the picture that is grey where it is to be painted, as the
    VAE makes it. mask: [B, H, W] of the picture, 1 where it is to be painted.
    """
    given = {"concat_latent_image": picture, "concat_mask": mask.unsqueeze(1)}
    return concat_of(given, picture.shape, model.config["latent_scale"])
