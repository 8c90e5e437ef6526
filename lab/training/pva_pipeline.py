"""A diffusers pipeline of SD1.5 or SD2 kind as the frozen base of `mannequin train pva`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from ...hosts.sites import Call
from ...hosts.unet import SiteUNet
from ...methods.person_adapter import WORD
from ...methods.pva import PVA, ROOMS, Projections
from ...methods.site import Step

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
LIKE = "person"  # the word whose embedding the learned one starts from


@dataclass
class PipelineBase:
    """A pipeline's networks under the site contract, without gradients of their own."""

    name: str
    unet: SiteUNet
    vae: AutoencoderKL
    text: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDPMScheduler

    @property
    def side(self) -> int:
        """Of the square pictures that the base was made for."""
        return self.unet.unet.config.sample_size * self.factor

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def multiple(self) -> int:
        """What the side must be a multiple of, in pixels."""
        return self.factor * 2 ** (len(self.unet.unet.config.block_out_channels) - 1)

    @property
    def levels(self) -> int:
        """The number of timesteps."""
        return self.scheduler.config.num_train_timesteps

    def networks(self) -> tuple[nn.Module, ...]:
        return self.unet.unet, self.vae, self.text

    def layers(self) -> dict[str, Projections]:
        """The cross-attentions' own projections, by layer."""
        return {
            layer: Projections(*(getattr(attn, room).weight for room in ROOMS))
            for layer, attn in self.unet.cross_attentions().items()
        }

    def word(self) -> Tensor:
        """The embedding at which WORD starts, [width]."""
        like = self.tokenizer(LIKE, add_special_tokens=False).input_ids[0]
        return self.text.get_input_embeddings().weight[like].detach().float()

    def speak(self, prompts: list[str], word: Tensor) -> Tensor:
        """Text [B, L, width], with `word` [width] in the place of WORD; gradients reach it."""
        asked = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        length = self.text.config.max_position_embeddings
        tokens = self.tokenizer(prompts, max_length=length, **asked).input_ids.to(self.text.device)
        mine = tokens == self.tokenizer.convert_tokens_to_ids(WORD)

        def put(module: nn.Module, given: Any, embedded: Tensor) -> Tensor:
            return torch.where(mine.unsqueeze(-1), word.to(embedded), embedded)

        hook = self.text.get_input_embeddings().register_forward_hook(put)
        try:
            return self.text(tokens.masked_fill(mine, 0))[0]
        finally:
            hook.remove()

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Tensor:
        """The latent of pictures [B, 3, H, W], -1..1, as the UNet sees it, in float32."""
        dist = self.vae.encode(picture.to(self.vae.dtype)).latent_dist
        return dist.mode().float() * self.vae.config.scaling_factor

    def error(
        self, picture: Tensor, region: Tensor, t: Tensor, noise: Tensor, text: Tensor, method: PVA
    ) -> Tensor:
        """The mean squared error of what the base was trained to predict, at timesteps t [B].

        picture: [B, 3, H, W], -1..1; region: [B, 1, H, W], 1 where it is to be painted; noise: of
        the latent's shape. A base without inpainting channels is not told the region.
        """
        x0 = self.encode(picture)
        seen = self.scheduler.add_noise(x0, noise, t)
        if self.unet.unet.config.in_channels > x0.shape[1]:
            hidden = self.encode(picture * (region < 0.5))
            mask = F.interpolate(region, x0.shape[-2:], mode="nearest")
            seen = torch.cat([seen, mask, hidden], 1)
        step = Step(math.nan, 0.0, 0, 1, (True,) * len(x0))
        call = Call(step, tuple(x0.shape[-2:]), (method,))
        dtype = self.unet.unet.dtype
        out = self.unet.forward(seen.to(dtype), t, call, text.to(dtype))
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            wanted = self.scheduler.get_velocity(x0, noise, t)
        else:
            wanted = noise if kind == "epsilon" else x0
        return F.mse_loss(out.float(), wanted.float())


def open_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> PipelineBase:
    """Opens a folder of a diffusers pipeline, frozen. Raises ValueError for what is none, for SDXL
    and for parts that do not belong together.
    """
    _check_folder(folder)
    try:
        unet = _load(UNet2DConditionModel, folder / "unet", torch_dtype=dtype)
        vae = _load(AutoencoderKL, folder / "vae", torch_dtype=dtype)
        text = _load(CLIPTextModel, folder / "text_encoder", dtype=dtype)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    except OSError as error:
        raise ValueError(
            f"{folder} is not a whole diffusers pipeline: {error} Expected weights as safetensors "
            f"in {', '.join(PARTS[:3])}; save the pipeline again with save_pretrained."
        ) from error
    _check_fit(folder, unet, vae, text, scheduler)
    for network in (unet, vae, text):
        network.to(device).requires_grad_(False).eval()
    tokenizer.add_tokens([WORD])
    name = folder.resolve().name
    return PipelineBase(name, SiteUNet(unet, False), vae, text, tokenizer, scheduler)


def _load(kind: type, folder: Path, **asked: Any) -> Any:
    """A network of safetensors; the half-precision variant where there is no other."""
    files = [path.name for path in folder.glob("*.safetensors")]
    half = files and all(".fp16." in name for name in files)
    if half:
        asked["variant"] = "fp16"
    return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, **asked)


def _check_folder(folder: Path) -> None:
    expected = (
        f"Expected a local folder of a diffusers pipeline (SD1.5 or SD2, inpainting or not), with "
        f"{', '.join(PARTS)} in it"
    )
    if not folder.is_dir():
        came = "a single file" if folder.is_file() else "no such folder"
        raise ValueError(
            f"{folder}: {came}. {expected}. Nothing is downloaded: fetch the model yourself, or "
            "turn a checkpoint into such a folder with diffusers' from_single_file and "
            "save_pretrained."
        )
    index = folder / "model_index.json"
    said = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    kind = str(said.get("_class_name", ""))
    if "XL" in kind or (folder / "text_encoder_2").is_dir():
        raise ValueError(
            f"{folder}: an SDXL pipeline, which has two text encoders and is not supported here. "
            "Use SD1.5 or SD2. Personalize Face trains on SDXL inside a graph."
        )
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise ValueError(f"{folder}: {', '.join(missing)} missing. {expected}.")


def _check_fit(
    folder: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text: CLIPTextModel,
    scheduler: DDPMScheduler,
) -> None:
    latent, came = vae.config.latent_channels, unet.config.in_channels
    if came not in (latent, 2 * latent + 1):
        raise ValueError(
            f"{folder}: expected a UNet with {latent} input channels, or {2 * latent + 1} for "
            f"inpainting; got {came}. Other kinds of pipelines are not supported."
        )
    width, speaks = unet.config.cross_attention_dim, text.config.hidden_size
    if width != speaks:
        raise ValueError(
            f"{folder}: the UNet reads text of {width} values per token, and the text encoder "
            f"writes {speaks}. The folders come from different models."
        )
    kind = scheduler.config.prediction_type
    if kind not in PREDICTIONS:
        raise ValueError(
            f"{folder}: expected a scheduler with the prediction type {', '.join(PREDICTIONS)}; "
            f"got {kind!r}."
        )
