"""How much memory a person model's activations take, from its configuration: what a host has to
keep free beside the weights.

Counted are the tensors that live at once at a network's worst moment: inside the widest
feed-forward or attention, with everything that waits for its turn (skip connections, the bank of
reference features). The counts are those of ComfyUI's UNet as torch's profiler sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INPUTS = 3
RESIDUAL = 5
FEED_FORWARD = 22
ATTENTION, PER_KEY = 10, 11
MARGIN = 1.2


@dataclass(frozen=True)
class References:
    """What one method feeds the reference network: rows pictures of h x w cells."""

    rows: int
    h: int
    w: int


@dataclass(frozen=True)
class Activations:
    """Numbers of elements per row of the batch. peak: all that live at the worst moment. bank: the
    input of every self-attention.
    """

    peak: int
    bank: int


def activations(config: dict[str, Any], h: int, w: int, keys_per_token: float = 1) -> Activations:
    """What a UNet of that configuration (diffusers' names) needs for a latent of h x w cells.

    keys_per_token: how many keys each query of a self-attention sees, divided by their own number;
    2 when one reference of the same size is looked at.
    """
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else list(depths)
    peak = bank = 0
    waiting = [INPUTS * config["in_channels"] * h * w, widths[0] * h * w]

    def block(entering: int, width: int, cells: int, depth: int) -> None:
        nonlocal peak, bank
        now = RESIDUAL * max(entering, width) * cells
        if depth:
            bank += depth * width * cells
            feed_forward = (FEED_FORWARD + 2 * keys_per_token) * width * cells
            attention = (ATTENTION + PER_KEY * keys_per_token) * width * cells
            now = max(now, entering * cells + max(feed_forward, attention))
        peak = max(peak, sum(waiting) + int(now))

    entering, sizes = widths[0], []
    for level, (width, kind) in enumerate(zip(widths, config["down_block_types"], strict=True)):
        sizes.append((h, w))
        for _ in range(layers):
            block(entering, width, h * w, depths[level] * kind.startswith("CrossAttn"))
            waiting.append(width * h * w)
            entering = width
        if level < len(widths) - 1:
            h, w = -(-h // 2), -(-w // 2)
            waiting.append(width * h * w)
    block(entering, entering, h * w, depths[-1])
    for level, kind in zip(reversed(range(len(widths))), config["up_block_types"], strict=True):
        h, w = sizes[level]
        for _ in range(layers + 1):
            skip = waiting.pop() // (h * w)
            depth = depths[level] * kind.startswith("CrossAttn")
            block(entering + skip, widths[level], h * w, depth)
            entering = widths[level]
    return Activations(peak, bank)


def person_bytes(
    generator: dict[str, Any],
    reference: dict[str, Any],
    shape: Sequence[int],
    seen: Sequence[References],
    bytes_each: int,
) -> int:
    """Bytes for one denoiser call of a person model.

    generator, reference: the two networks' configurations. shape: [B, C, h, w] of the batch,
    conditional and unconditional rows together. seen: what every method shows. bytes_each: of one
    number. The reference network runs first, beside the bank of the step before.
    """
    rows, _, h, w = shape
    more = sum(r.rows * r.h * r.w for r in seen) / (h * w)
    own = activations(generator, h, w, 1 + more)
    shown = [(r.rows, activations(reference, r.h, r.w)) for r in seen]
    bank = rows * sum(count * a.bank for count, a in shown)
    running = max((2 * count * (a.peak + a.bank) for count, a in shown), default=0)
    return int(MARGIN * bytes_each * (bank + max(rows * own.peak, running)))
