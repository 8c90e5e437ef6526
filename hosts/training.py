"""What training inside a graph has in common on both hosts."""

from torch import Tensor

from ..methods.site import Step


def training_step(sigma: Tensor) -> Step:
    """The one Step of a training batch with noise levels sigma [B]: all rows conditional, progress
    0, and their mean sigma.
    """
    mean = float(sigma.mean())
    return Step(mean, 0.0, 0, 1, (True,) * len(sigma), (mean,))


def usable(x: Tensor) -> Tensor:
    """x where autograd may keep it: what was made in inference mode is copied."""
    return x.clone() if x.is_inference() else x
