"""What a mixture of attention learns beside a frozen model of the tiny family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...methods.moa import MoA
from ...methods.moa_weights import MoAWeights, new_weights
from ...methods.pva import ROOMS, Projections
from ...methods.site import Site


class Learned(nn.Module):
    """Experts, routers and binder as parameters; see `MoAWeights`."""

    def __init__(self, started: MoAWeights) -> None:
        super().__init__()
        self.config = started.config
        self.names = {name.replace(".", "-"): name for name in started.tensors}
        self.parts = nn.ParameterDict(
            {part: nn.Parameter(started.tensors[name]) for part, name in self.names.items()}
        )

    def weights(self) -> MoAWeights:
        """The weights, through which gradients reach the parameters."""
        return MoAWeights(self.config, {name: self.parts[p] for p, name in self.names.items()})

    def weights_of(self, state: Mapping[str, Tensor], provenance: dict[str, Any]) -> MoAWeights:
        """The weights of a state of this module, which may be an average."""
        tensors = {name: state[f"parts.{p}"].detach().clone() for p, name in self.names.items()}
        return MoAWeights(self.config, tensors, provenance)


class BranchAlone(MoA):
    """The personalised experts everywhere, without a router: what the router is measured against,
    and taught now and then, so that it is a fair opponent.
    """

    def shares(self, n: Tensor, site: Site) -> Tensor:
        return n.new_ones(n.shape[:2])


def own_projections(model: Any) -> dict[str, dict[str, Projections]]:
    """Every layer's self- and cross-attention of a model of the embedded host, copies."""
    unet = model.unet.unet
    out: dict[str, dict[str, Projections]] = {}
    for name, processor in unet.attn_processors.items():
        layer, kind, _ = processor.where
        attention = unet.get_submodule(name.removesuffix(".processor"))
        weights = (getattr(attention, room).weight.detach().float().clone() for room in ROOMS)
        out.setdefault(layer, {})[kind] = Projections(*weights)
    order = {"down": 0, "mid": 1, "up": 2}
    return dict(sorted(out.items(), key=lambda one: (order[one[0].split(".")[0]], one[0])))


def begin(model: Any, base: str, embedding: str, dimension: int, seed: int) -> Learned:
    """Untrained weights for a model of the embedded host, with which it is what it was."""
    torch.manual_seed(seed)
    return Learned(new_weights(own_projections(model), base, embedding, dimension))
