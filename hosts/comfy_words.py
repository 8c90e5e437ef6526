"""Learned words like <new1> in ComfyUI's CLIPs: the tiny family's, and SD1.5's, SD2's and SDXL's.

ComfyUI lets vectors stand among the numbers of a prompt's tokens, which is how its `embedding:`
files work; learned words are put there the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from typing import Any

import comfy.sd
from comfy.sd1_clip import SDTokenizer
from torch import Tensor

from .comfy_text import Words
from .training import usable

ENCODERS = ("clip_l", "clip_h", "clip_g")  # in the order of the text's channels


def knows_words(clip: comfy.sd.CLIP) -> bool:
    """Whether a learned word has a place in this CLIP: in ours, SD1.5's, SD2's and SDXL's."""
    return isinstance(clip.tokenizer, Words) or bool(_widths(clip))


def with_words(clip: comfy.sd.CLIP, learned: Mapping[str, Tensor]) -> comfy.sd.CLIP:
    """A CLIP that knows more words; the one given is left as it was.

    learned: the embeddings [width] of words; SDXL's are those of its two text encoders in one, as
    in its text: [768 + 1280]. Gradients reach them. Raises ValueError for other CLIPs, and when a
    word was learned with another.
    """
    known = clip.tokenizer
    more = clip.clone()
    if isinstance(known, Words):
        more.tokenizer = Words(known.tokenizer, {**known.learned, **learned})
        return more
    widths = _widths(clip)
    if not widths:
        raise ValueError(
            f"Expected the CLIP of Load Inpaint Model, or one of SD1.5, SD2 or SDXL; got one with "
            f"{type(known).__name__}, which has no place for {', '.join(learned)}. Connect the "
            "CLIP of the model that the adapter was trained for, or none."
        )
    for word, vector in learned.items():
        if vector.shape != (sum(widths.values()),):
            raise ValueError(
                f"The word {word} was learned with {vector.numel()} values; this CLIP's words have "
                f"{sum(widths.values())}. Connect the CLIP of the model that the adapter was "
                "trained for, or none."
            )
    parts = {word: usable(t).float().split(list(widths.values())) for word, t in learned.items()}
    more.tokenizer = copy(known)
    for number, name in enumerate(widths):
        inner = copy(getattr(known, name))
        inner.tokenizer = Splitting(inner.tokenizer, {w: own[number] for w, own in parts.items()})
        setattr(more.tokenizer, name, inner)
    return more


def _widths(clip: comfy.sd.CLIP) -> dict[str, int]:
    """The text encoders that read learned words, and the width of their word embeddings; none for
    CLIPs that have others too.
    """
    own = {name for name, t in vars(clip.tokenizer).items() if isinstance(t, SDTokenizer)}
    if not own <= set(ENCODERS):
        return {}
    encoders = {name: getattr(clip.cond_stage_model, name) for name in ENCODERS if name in own}
    return {
        name: encoder.transformer.get_input_embeddings().weight.shape[1]
        for name, encoder in encoders.items()
    }


class Splitting:
    """A tokenizer of transformers as SDTokenizer calls it, with vectors in place of the words that
    it is given; what is around them, weights and chunks is ComfyUI's as before.
    """

    def __init__(self, plain: Any, learned: Mapping[str, Tensor]) -> None:
        self.plain, self.learned = plain, learned

    def __call__(self, text: str) -> dict[str, list[int | Tensor]]:
        begin, end = self.plain("")["input_ids"]
        said: list[int | Tensor] = []
        for part in re.split(f"({'|'.join(map(re.escape, self.learned))})", text):
            if part in self.learned:
                said.append(self.learned[part])
            elif part:
                said += self.plain(part)["input_ids"][1:-1]
        return {"input_ids": [begin, *said, end]}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.plain, name)
