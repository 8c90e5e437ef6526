"""Attention primitives: `eager` is the truth, the registry picks the backend that runs."""

from .functions import (
    attention,
    flow_of_attention,
    joint_attention,
    mixture_attention,
    reference_attention,
)

__all__ = [
    "attention",
    "flow_of_attention",
    "joint_attention",
    "mixture_attention",
    "reference_attention",
]
