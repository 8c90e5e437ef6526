"""Attention primitives: `eager` is the truth, `sdpa` runs everywhere."""

from .sdpa import flow_of_attention, reference_attention

__all__ = ["flow_of_attention", "reference_attention"]
