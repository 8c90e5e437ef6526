"""The tiny family's text encoder: whole words of a closed vocabulary, and a small transformer.

Its interface is CLIP's: a prompt becomes a fixed number of tokens, all of which cross-attention
sees, padding included. Our design: the captions of the synthetic people need a few hundred words,
so that a table of words replaces byte pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")
_WORD = r"<[a-z0-9]+>|[a-z]+(?:-[a-z]+)*|\d+"


class WordTokenizer:
    """words: the vocabulary after SPECIAL. aliases: other spellings. length: tokens per prompt."""

    def __init__(self, words: Sequence[str], aliases: dict[str, str], length: int) -> None:
        self.words, self.aliases, self.length = (*SPECIAL, *words), dict(aliases), length
        self.index = {word: i for i, word in enumerate(self.words)}
        missing = sorted(set(aliases.values()) - set(self.index))
        if missing:
            raise ValueError(f"expected aliases of known words; {', '.join(missing)} are not known")

    def split(self, prompt: str) -> list[str]:
        """Words of a prompt, lower case; a hyphenated word that is unknown is taken apart."""
        out = []
        for word in re.findall(_WORD, prompt.lower()):
            word = self.aliases.get(word, word)
            parts = [word] if word in self.index else word.split("-")
            out += [self.aliases.get(part, part) for part in parts]
        return out

    def unknown(self, prompt: str) -> list[str]:
        """The words of a prompt that are not in the vocabulary, in order."""
        return [word for word in self.split(prompt) if word not in self.index]

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """int64 [B, length]: begin, the words, end, padding. What does not fit is left out."""
        rows = []
        for prompt in prompts:
            words = [self.index.get(word, UNKNOWN) for word in self.split(prompt)]
            row = [BEGIN, *words[: self.length - 2], END]
            rows.append(row + [PAD] * (self.length - len(row)))
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), self.length)


class TextEncoder(nn.Module):
    """tokens [B, length] -> [B, length, width]; any token's embedding may be replaced.

    words: size of the vocabulary, SPECIAL included. heads must divide width. operations: where the
    layers come from, PyTorch or the host.
    """

    def __init__(
        self,
        words: int,
        length: int,
        width: int,
        layers: int,
        heads: int,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.embed = operations.Embedding(words, width)
        self.place = nn.Parameter(torch.randn(length, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = operations.LayerNorm(width)
        nn.init.normal_(self.embed.weight, std=0.05)

    def forward(self, tokens: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """embeddings [B, length, width]: used instead of the tokens' own, for learned words.

        Attention inside the encoder leaves padding out; it still gets an output.
        """
        x = (self.embed(tokens) if embeddings is None else embeddings) + self.place
        padding = tokens == PAD
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return self.norm(x)


def make_text(config: dict[str, Any]) -> tuple[WordTokenizer, TextEncoder]:
    """From {"words", "aliases", "length", "width", "layers", "heads"}, as a file's metadata has."""
    tokenizer = WordTokenizer(config["words"], config["aliases"], config["length"])
    encoder = TextEncoder(
        len(tokenizer.words), config["length"], config["width"], config["layers"], config["heads"]
    )
    return tokenizer, encoder
