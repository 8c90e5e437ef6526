"""What a method may see of a model: attention sites, steps, and the hooks a host calls.

Both hosts reduce a UNet to a sequence of attention sites and call the hooks below; a method never
knows which host it runs on. The contract is ours; the papers patch their own model code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Features = dict[str, Tensor]
RunReference = Callable[[Tensor, float], Features]


@dataclass(frozen=True)
class Step:
    """One denoiser call.

    sigma: noise level, >= 0 (k-diffusion convention). progress: 0 at the first step, 1 at the
    last. index, total: the step's number and how many there are. conditional: one flag per batch
    row, True where the row belongs to the positive prompt. run: the noise levels of all steps,
    descending, without the final 0.
    """

    sigma: float
    progress: float
    index: int
    total: int
    conditional: tuple[bool, ...]
    run: tuple[float, ...] = ()


@dataclass(frozen=True)
class Site:
    """One attention layer during one step.

    kind: "self" or "cross". layer: host-neutral id (`down.1.0`, `mid.0`, `up.2.1`, and a fourth
    number where a block holds several transformer layers). heads: number of heads.
    grid: (h, w) of the token grid. step: the step it belongs to.
    """

    kind: str
    layer: str
    heads: int
    grid: tuple[int, int]
    step: Step


class Method:
    """Base of all methods: every hook defaults to doing nothing.

    A host skips what a method does not override, so an inactive method costs nothing and leaves
    the result bit-identical. shows_references: whether the method lets the generator look at
    pictures, without which a person model is not to be sampled. kinds: the attention layers whose
    hooks are called, "self", "cross" or both. mixes: whether `attend` mixes its own attention with
    what the others make of it, whatever their order; such methods are asked after the others.
    """

    shows_references = False
    mixes = False
    kinds: tuple[str, ...] = ("self",)

    def reference_shapes(self) -> Sequence[tuple[int, int, int]]:
        """What `prepare` feeds the reference network, (pictures, h, w) each; for the memory that
        a host keeps free.
        """
        return ()

    def begin(self) -> None:
        """Called before the first denoiser call of a sampling run."""

    def end(self) -> None:
        """Called after the last denoiser call of a run, also when it was interrupted."""

    def active(self, step: Step) -> bool:
        """Whether any hook is to be called during this step."""
        return True

    def prepare(self, step: Step, run_reference: RunReference | None) -> None:
        """Called once before each denoiser call.

        run_reference maps reference inputs [R, C, h, w] and a noise level to features
        {layer: [R, N, channels]}; None when the host cannot run references.
        """

    def context(
        self, n: Tensor, keys: Tensor, values: Tensor, site: Site
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the query, key and value projections, each [B, N, C]; chains."""
        return n, keys, values

    def attends(self, site: Site) -> bool:
        """Whether `attend` is to replace the attention at this site."""
        return False

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, site: Site, others: Sequence["Method"] = ()
    ) -> Tensor:
        """The attention itself: q [B, H, N, d], k and v [B, H, M, d] -> [B, H, N, d].

        others: earlier methods that also want to replace it. The last one is asked, and does their
        work too where it knows how. One that mixes counts as later than all that do not.
        """
        raise NotImplementedError

    def output(self, n_in: Tensor, n_out: Tensor, site: Site) -> Tensor:
        """After the output projection; n_in is the layer's input, both [B, N, C]; chains."""
        return n_out

    def denoised(self, x0: Tensor, step: Step) -> Tensor:
        """On the predicted clean latent [B, C, h, w]; chains."""
        return x0

    def mask(self, mask: Tensor, step: Step) -> Tensor:
        """On the denoise mask [B, 1, h, w], 1 where the sampler may paint; chains."""
        return mask
