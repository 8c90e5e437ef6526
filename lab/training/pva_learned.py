"""What parallel visual attention learns beside a frozen model, whichever model that is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ...methods.identity import IdentityEncoder
from ...methods.person_adapter import VECTORS, PersonAdapter
from ...methods.pva import ROOMS, Projections

QUERIES, LAYERS, HEADS = 10, 4, 4


class Learned(nn.Module):
    """Branch, identity transformer, word.

    own: the model's cross-attentions, of which the branch starts as a copy; dimension: of the face
    vectors; word: the embedding [width] at which the word starts.
    """

    def __init__(self, own: Mapping[str, Projections], dimension: int, word: Tensor) -> None:
        super().__init__()
        width = next(iter(own.values())).to_k.shape[1]
        self.names = {layer: layer.replace(".", "-") for layer in own}
        self.branch = nn.ModuleDict(
            {
                self.names[layer]: nn.ParameterDict(
                    {room: _parameter(getattr(p, room)) for room in ROOMS}
                )
                for layer, p in own.items()
            }
        )
        self.identity = IdentityEncoder(dimension, width, QUERIES, LAYERS, HEADS)
        self.word = _parameter(word)

    def projections(self) -> dict[str, Projections]:
        return {
            layer: Projections(*(self.branch[name][room] for room in ROOMS))
            for layer, name in self.names.items()
        }


def _parameter(start: Tensor) -> nn.Parameter:
    return nn.Parameter(start.detach().float().clone())


def adapter_of(
    learned: Learned, state: Mapping[str, Tensor], source: str, base: str
) -> PersonAdapter:
    """The trained adapter from a state of `learned`, which may be an average.

    source: the network that made the face vectors; base: what the model is called.
    """
    tensors = {}
    for layer, name in learned.names.items():
        for room in ROOMS:
            tensors[f"branch.{layer}.{room}"] = state[f"branch.{name}.{room}"]
    tensors |= {k: v for k, v in state.items() if k.startswith("identity.")}
    tensors["word"] = state["word"]
    config = {
        "family": "pva",
        "base": base,
        "embedding": source,
        "identity": {
            "kind": VECTORS,
            "dimension": learned.identity.enter.in_features,
            "width": len(state["identity.term"][0]),
            "queries": QUERIES,
            "layers": LAYERS,
            "heads": HEADS,
        },
    }
    return PersonAdapter(config, {k: v.detach().clone() for k, v in tensors.items()})
