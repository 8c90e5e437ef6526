"""Where a word of a prompt stands among the tokens that ComfyUI's CLIPs make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import prompts
from .comfy_text import Words

CLIP_KEYS = ("l", "g", "h")  # of the texts of SD1.5, SDXL and SD2
ENDS_WORD = "</w>"


def places(clip: Any, prompt: str, phrase: str) -> list[tuple[int, ...]]:
    """Where a word, or a few in a row, stands in the text [1, L, width] that a CLIP makes of a
    prompt: the positions of every occurrence. Long prompts are several chunks, one behind the
    other. Raises ValueError for a CLIP of another kind than the UNets that we patch have.
    """
    if isinstance(clip.tokenizer, Words):
        return prompts.places(clip.tokenizer.tokenizer, prompt, phrase)
    said = clip.tokenize(prompt, return_word_ids=True)
    key = next((key for key in CLIP_KEYS if key in said), None)
    if key is None:
        raise ValueError(
            "Expected the CLIP of Load Inpaint Model, or of an SD1.5, SD2 or SDXL checkpoint; got "
            f"one that reads {', '.join(said)}. Connect the CLIP that belongs to the model."
        )
    chunks = clip.tokenize(phrase, return_word_ids=True)[key]
    wanted = [token for chunk in chunks for token, _, word in chunk if word]
    found, first = [], 0
    for chunk in said[key]:
        ids = [token if word and isinstance(token, int) else None for token, _, word in chunk]
        for run in prompts.runs(ids, wanted):
            if _begins_a_word(clip, ids, run[0]):
                found.append(tuple(first + place for place in run))
        first += len(chunk)
    return found


def _begins_a_word(clip: Any, ids: Sequence[int | None], place: int) -> bool:
    """Not so inside a word that the tokenizer took apart."""
    before = ids[place - 1] if place else None
    if before is None:
        return True
    return clip.tokenizer.untokenize([(before, 1.0)])[0][1].endswith(ENDS_WORD)
