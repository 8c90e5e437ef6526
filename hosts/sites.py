"""What both hosts share: which methods act on a step, and how hooks are chained."""

from collections.abc import Callable, Sequence
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

    def at(self, kind: str) -> list[Method]:
        """The methods that have to do with this kind of attention."""
        return [method for method in self.methods if kind in method.kinds]

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        for method in self.at(site.kind):
            n, keys, values = method.context(n, keys, values, site)
        return n, keys, values

    def attention(self, site: Site) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """What replaces the attention here: the last method that wants to, told of the others."""
        attending = [method for method in self.at(site.kind) if method.attends(site)]
        attending.sort(key=lambda method: method.mixes)
        if not attending:
            return None
        *others, last = attending
        return lambda q, k, v: last.attend(q, k, v, site, others)

    def output(self, n_in: Tensor, n_out: Tensor, site: Site) -> Tensor:
        for method in self.at(site.kind):
            n_out = method.output(n_in, n_out, site)
        return n_out


def check_references(methods: Sequence[Method]) -> None:
    """Raises ValueError when nothing shows a person model its reference."""
    if not any(method.shows_references for method in methods):
        raise ValueError(
            "This person model was trained to look at a reference picture, and none is connected. "
            "Put Flow-Guided Attention between Load Person Model and the sampler; at strength 0 it "
            "samples without a reference on purpose."
        )


def check_concat(concat: Tensor | None, channels: int) -> None:
    """Raises ValueError unless concat holds the channels that a person model wants."""
    came = 0 if concat is None else concat.shape[1]
    if came != channels:
        raise ValueError(
            f"Expected conditioning that brings mask, masked picture and dense pose ({channels} "
            f"channels); got {came or 'none'}. Connect positive and negative of Person "
            "Conditioning, made with the same model."
        )


def _halve(n: int, times: int) -> int:
    for _ in range(times):
        n = -(-n // 2)
    return n
