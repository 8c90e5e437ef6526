"""What is done to a guided prediction before the sampler takes its step."""

from collections.abc import Callable

from torch import Tensor


def rescale(guided: Tensor, conditional: Tensor, coefficient: float) -> Tensor:
    """Guidance with the conditional prediction's contrast (arXiv 2305.08891, section 3.4).

    guided, conditional: predicted noise [B, C, h, w] at any common scale. coefficient: 0 gives
    `guided` back, 1 the rescaled prediction; the published Leffa code goes beyond and takes the
    guidance itself, 2.5. Where the guided prediction is constant, it is kept.
    """
    dims = tuple(range(1, guided.ndim))
    spread = guided.std(dims, keepdim=True)
    ratio = conditional.std(dims, keepdim=True) / spread
    ratio = ratio.where(spread > 0, spread.new_ones(()))
    return coefficient * (guided * ratio) + (1 - coefficient) * guided


def rescaled_by(strength: float) -> Callable[[Tensor, Tensor, float], Tensor]:
    """The host's guidance hook (guided, conditional, cfg) with coefficient strength * cfg."""

    def hook(guided: Tensor, conditional: Tensor, cfg: float) -> Tensor:
        return rescale(guided, conditional, strength * cfg)

    return hook
