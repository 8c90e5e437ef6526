"""The tiny family's text encoder as ComfyUI's own CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.sd
import torch
from torch import Tensor, nn

from . import prompts, weights
from .text import TextEncoder, WordTokenizer, make_text

WORDS = "words"


def clip(stored: weights.PersonWeights) -> comfy.sd.CLIP:
    """The text encoder of an inpainting model's file, in float32.

    It is so small that it stays on the CPU. Raises RuntimeError when weights and configuration
    differ.
    """
    tokenizer, encoder = make_text(stored.config["text"])
    encoder.load_state_dict({name: t.float() for name, t in stored.tensors["text"].items()})
    target = SimpleNamespace(
        params={},
        clip=lambda **unused: WordModel(encoder),
        tokenizer=lambda **unused: Words(tokenizer),
    )
    cpu = torch.device("cpu")
    places = dict.fromkeys(("load_device", "offload_device", "initial_device"), cpu)
    return comfy.sd.CLIP(target, model_options={**places, "dtype": torch.float32})


class Words:
    """What ComfyUI asks of a tokenizer.

    learned: words like <new1> and the embeddings [width] that they stand for.
    """

    def __init__(
        self, tokenizer: WordTokenizer, learned: Mapping[str, Tensor] | None = None
    ) -> None:
        self.tokenizer, self.learned = tokenizer, dict(learned or {})

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, **unused: Any
    ) -> dict[str, list[list[tuple[Any, ...]]]]:
        """{"words": [[(token, weight), ...]]}, with the number of the word where asked for, 0 for
        what is no word.
        """
        row: list[tuple[Any, ...]] = prompts.tokens(self.tokenizer, text, self.learned)
        if return_word_ids:
            end = 1 + prompts.word_count(row)
            row = [(*pair, i if i < end else 0) for i, pair in enumerate(row)]
        return {WORDS: [row]}

    def untokenize(self, row: list[tuple[Any, ...]]) -> list[tuple[Any, str]]:
        known = self.tokenizer.words
        return [(pair, known[pair[0]] if isinstance(pair[0], int) else "") for pair in row]

    def state_dict(self) -> dict[str, Tensor]:
        return {}


class WordModel(nn.Module):
    """What ComfyUI asks of a text model; it has no layers to skip and no pooled output."""

    dtypes = frozenset({torch.float32})

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.words = encoder.requires_grad_(False).train(False)

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """CLIP Set Last Layer and its like: nothing to set."""

    def reset_clip_options(self) -> None:
        """Nothing was set."""

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, None]:
        """[1, L, width] and no pooled output. Raises ValueError for another CLIP's tokens."""
        if WORDS not in tokens:
            raise ValueError(
                f"Expected tokens of this CLIP's own tokenizer; got {', '.join(tokens)}. Connect "
                "the CLIP of Load Inpaint Model to CLIP Text Encode."
            )
        said = prompts.encode(self.words, tokens[WORDS])
        return said.to(comfy.model_management.intermediate_device()), None

    def load_sd(self, state: dict[str, Tensor]) -> Any:
        return self.words.load_state_dict(state, strict=False)
