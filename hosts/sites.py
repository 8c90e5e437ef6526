"""What both hosts share: which methods act on a step, and how hooks are chained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..methods.site import Method, Site, Step


@dataclass
class Call:
    """One denoiser call in progress: the methods that are active and the latent's size."""

    step: Step
    size: tuple[int, int]
    methods: Sequence[Method] = field(default_factory=tuple)

    def grid(self, level: int) -> tuple[int, int]:
        """The token grid after `level` halvings, rounding up as strided convolutions do."""
        h, w = self.size
        return _halve(h, level), _halve(w, level)

    def context(self, n: Tensor, site: Site) -> tuple[Tensor, Tensor, Tensor]:
        keys = values = n
        for method in self.methods:
            n, keys, values = method.context(n, keys, values, site)
        return n, keys, values

    def attention(self, site: Site) -> Method | None:
        """The method that replaces the attention here; the last one wins."""
        return next((m for m in reversed(self.methods) if m.attends(site)), None)

    def output(self, n_in: Tensor, n_out: Tensor, site: Site) -> Tensor:
        for method in self.methods:
            n_out = method.output(n_in, n_out, site)
        return n_out


def _halve(n: int, times: int) -> int:
    for _ in range(times):
        n = -(-n // 2)
    return n
