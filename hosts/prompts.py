"""From a prompt to what cross-attention sees of it; the same on both hosts.

Tokens are pairs (number or embedding, weight), as ComfyUI's tokenizers give them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .text import BEGIN, END, PAD, UNKNOWN, TextEncoder, WordTokenizer

log = logging.getLogger("mannequin")

Token = tuple[int | Tensor, float]
BRACKETS = 1.1


def weighted(prompt: str, weight: float = 1.0) -> list[tuple[str, float]]:
    """The parts of a prompt with their weights, as ComfyUI reads them: (red) counts 1.1 times what
    is around it, (red:1.3) counts 1.3, brackets nest, and \\( and \\) are no brackets.
    """
    parts, depth, start = [], 0, 0
    prompt = prompt.replace("\\(", " ").replace("\\)", " ")
    for i, letter in enumerate(prompt):
        if letter == "(":
            if depth == 0:
                parts.append((prompt[start:i], weight))
                start = i + 1
            depth += 1
        elif letter == ")" and depth:
            depth -= 1
            if depth == 0:
                parts += weighted(*_said(prompt[start:i], weight))
                start = i + 1
    parts.append((prompt[start:], weight))
    return [(part, w) for part, w in parts if part.strip()]


def _said(inside: str, around: float) -> tuple[str, float]:
    """What stands in a pair of brackets, and its weight."""
    words, _, number = inside.rpartition(":")
    try:
        weight = float(number) if words else math.nan
    except ValueError:
        weight = math.nan
    return (words, weight) if math.isfinite(weight) else (inside, around * BRACKETS)


def tokens(
    tokenizer: WordTokenizer, prompt: str, learned: Mapping[str, Tensor] | None = None
) -> list[Token]:
    """A prompt as the tokenizer's `length` tokens: begin, the words, end, padding.

    learned: words like <new1> and the embeddings [width] that they stand for. Words that are not
    known, and words that do not fit, are told in the log.
    """
    learned = learned or {}
    words = _words(tokenizer, prompt)
    unknown = [w for w, _ in words if w not in learned and w not in tokenizer.index]
    if unknown:
        log.warning(
            "The text encoder does not know %s: said to it as an unknown word. It was taught %d "
            "words: colours, hair, expressions, clothes and the like.",
            ", ".join(dict.fromkeys(unknown)),
            len(tokenizer.words),
        )
    room = tokenizer.length - 2
    if len(words) > room:
        log.warning(
            "The text encoder reads %d words; left out: %s",
            room,
            " ".join(word for word, _ in words[room:]),
        )
    said = [
        (learned[word] if word in learned else tokenizer.index.get(word, UNKNOWN), weight)
        for word, weight in words[:room]
    ]
    row = [(BEGIN, 1.0), *said, (END, 1.0)]
    return row + [(PAD, 1.0)] * (tokenizer.length - len(row))


def _words(tokenizer: WordTokenizer, prompt: str) -> list[tuple[str, float]]:
    """The words of a prompt with their weights."""
    return [(word, w) for part, w in weighted(prompt) for word in tokenizer.split(part)]


def places(tokenizer: WordTokenizer, prompt: str, phrase: str) -> list[tuple[int, ...]]:
    """Where a word, or a few in a row, stands among a prompt's tokens: the positions of every
    occurrence. What does not fit into the row is not found.
    """
    words = [word for word, _ in _words(tokenizer, prompt)][: tokenizer.length - 2]
    return runs(words, tokenizer.split(phrase), first=1)


def runs(row: Sequence[Any], wanted: Sequence[Any], first: int = 0) -> list[tuple[int, ...]]:
    """Where one sequence stands inside another: the positions of every occurrence, counted from
    `first`.
    """
    n = len(wanted)
    starts = [i for i in range(len(row) - n + 1) if n and list(row[i : i + n]) == list(wanted)]
    return [tuple(range(first + i, first + i + n)) for i in starts]


def word_count(row: Sequence[Token]) -> int:
    """How many words a row of tokens says."""
    return [token if isinstance(token, int) else UNKNOWN for token, _ in row].index(END) - 1


def encode(encoder: TextEncoder, rows: Sequence[Sequence[Token]]) -> Tensor:
    """Rows of tokens -> [B, length, width].

    A token of weight w is encoded as e + w (x - e), where e is what the empty prompt says in its
    place: ComfyUI's formula.
    """
    weights = torch.tensor([[weight for _, weight in row] for row in rows])
    plain = bool((weights == 1).all())
    empty = [(BEGIN, 1.0), (END, 1.0)]
    if not plain:
        rows = [*rows, empty + [(PAD, 1.0)] * (len(rows[0]) - 2)]
    device = encoder.embed.weight.device
    ids = [[UNKNOWN if isinstance(t, Tensor) else t for t, _ in row] for row in rows]
    numbers = torch.tensor(ids, device=device)
    embeddings = None
    for i, row in enumerate(rows):
        for j, (token, _) in enumerate(row):
            if isinstance(token, Tensor):
                embeddings = encoder.embed(numbers).clone() if embeddings is None else embeddings
                embeddings[i, j] = token.to(embeddings)
    said = encoder(numbers, embeddings)
    if plain:
        return said
    said, nothing, weights = said[:-1], said[-1:], weights.to(said).unsqueeze(-1)
    return torch.where(weights == 1, said, nothing + weights * (said - nothing))
