"""A diffusers UNet with the site contract: every attention layer calls the hooks of a `Call`.

Person models are text-free: their cross-attention returns its input, as in the published code, so
a transformer block computes x + norm2(x) there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from torch import Tensor

from ..kernels import attention as plain_attention
from ..methods.site import Site
from .sites import Call

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention

_BLOCK = (
    r"(?:(down|up)_blocks\.(\d+)|mid_block)\.attentions\.(\d+)"
    r"\.transformer_blocks\.(\d+)\.attn([12])"
)


KINDS = {"1": "self", "2": "cross"}


class SiteUNet:
    """Runs a UNet2DConditionModel under hooks.

    After construction, `forward` runs the network for a `Call`, and `features` returns the
    post-norm inputs of every self-attention, which are Leffa's reference features.
    """

    def __init__(self, unet: UNet2DConditionModel, text_free: bool = True) -> None:
        self.unet = unet
        self._call: Call | None = None
        self._bank: dict[str, Tensor] | None = None
        self._layers = sum(name.endswith("attn1.processor") for name in unet.attn_processors)
        levels = len(unet.config.block_out_channels)
        processors = {}
        self._cross: dict[str, Attention] = {}
        for name in unet.attn_processors:
            where, block, attention, layer, kind = re.match(_BLOCK, name).groups()
            level = {"down": int(block or 0), "up": levels - 1 - int(block or 0)}.get(
                where, levels - 1
            )
            site = f"{where}.{block}.{attention}" if where else f"mid.{attention}"
            if layer != "0":
                site = f"{site}.{layer}"
            if kind == "2" and text_free:
                processors[name] = _identity
            else:
                if kind == "2":
                    self._cross[site] = unet.get_submodule(name.removesuffix(".processor"))
                processors[name] = _SiteProcessor(self, site, KINDS[kind], level)
        unet.set_attn_processor(processors)

    def cross_attentions(self) -> dict[str, Attention]:
        """The cross-attention modules by layer id; none in a text-free model."""
        return dict(self._cross)

    def forward(self, x: Tensor, t: Tensor, call: Call, text: Tensor | None = None) -> Tensor:
        """x [B, C, h, w], t [B] timesteps -> [B, C_out, h, w]."""
        if text is None:
            text = x.new_zeros(len(x), 1, self.unet.config.cross_attention_dim)
        self._call = call
        try:
            return self.unet(x, t, text, return_dict=False)[0]
        finally:
            self._call = None

    def features(self, x: Tensor, t: Tensor, call: Call) -> dict[str, Tensor]:
        """The input of every self-attention {layer: [B, N, C]}; what comes after the last of them
        is not computed.
        """
        self._bank = bank = {}
        try:
            with suppress(_Complete):
                self.forward(x, t, call)
        finally:
            self._bank = None
        return bank

    def attention(
        self, attn: Attention, n: Tensor, text: Tensor | None, where: tuple[str, str, int]
    ) -> Tensor:
        """One attention layer under the hooks; where: (layer id, kind, level)."""
        call = self._call
        layer, kind, level = where
        if self._bank is not None and kind == "self":
            self._bank[layer] = n
            if len(self._bank) == self._layers:
                raise _Complete
        site = Site(kind, layer, attn.heads, call.grid(level), call.step)
        n_in = n
        keys = values = n if kind == "self" else text
        n, keys, values = call.context(n, keys, values, site)
        q, k, v = (
            project(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project, x in ((attn.to_q, n), (attn.to_k, keys), (attn.to_v, values))
        )
        attend = call.attention(site) or plain_attention
        out = attend(q, k, v)
        out = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return call.output(n_in, out, site)


class _Complete(Exception):  # noqa: N818  not an error: all features are there
    pass


class _SiteProcessor:
    def __init__(self, owner: SiteUNet, layer: str, kind: str, level: int) -> None:
        self.owner, self.where = owner, (layer, kind, level)

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor:
        return self.owner.attention(attn, hidden_states, encoder_hidden_states, self.where)


def _identity(attn: Attention, hidden_states: Tensor, **kwargs: object) -> Tensor:
    return hidden_states
