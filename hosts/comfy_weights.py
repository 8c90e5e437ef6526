"""A person model's file as ComfyUI's own objects: MODEL with its reference network, and VAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import torch
from comfy.model_management import get_torch_device, unet_offload_device, vae_offload_device
from torch import Tensor

from . import comfy_unet, weights
from .comfy_hooks import REFERENCES
from .memory import References, person_bytes
from .patches import PatchAutoencoder
from .sites import check_concat

CONFIG = "mannequin_config"
REFERENCE = "mannequin_reference"

_KINDS = vars(comfy.model_patcher)
ModelPatcher = _KINDS.get("CoreModelPatcher", comfy.model_patcher.ModelPatcher)


def load(path: Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.VAE]:
    """Reads a person model's file; the reference network rides along as an additional model.

    Raises ValueError when the file is not a person model.
    """
    with torch.inference_mode(False), misfits_named(path):
        stored = weights.read(path)
        return person_model(stored), autoencoder(stored)


@contextmanager
def misfits_named(path: Path) -> Iterator[None]:
    """Turns PyTorch's error for weights of another shape into a ValueError that names the file."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit their configuration: {error}") from error


def person_model(stored: weights.PersonWeights) -> comfy.model_patcher.ModelPatcher:
    """The generator, with its reference network as an additional model."""
    model = unet_patcher(stored, "unet")
    model.set_additional_models(REFERENCE, [unet_patcher(stored, "unet_encoder")])
    model.set_attachments(CONFIG, stored.config)
    return model


def unet_patcher(stored: weights.PersonWeights, room: str) -> comfy.model_patcher.ModelPatcher:
    """One of the two UNets in ComfyUI's key names, managed by ComfyUI."""
    load_device = get_torch_device()
    model = PersonNetwork(PersonFamily(stored, room, load_device))
    comfy_unet.make_text_free(model.diffusion_model)
    comfy_unet.set_heads(model.diffusion_model, stored.config[room])
    shape = model.model_config.unet_config
    comfy_unet.load(model.diffusion_model, shape, stored.tensors[room])
    model.requires_grad_(False)
    return ModelPatcher(model, load_device=load_device, offload_device=unet_offload_device())


def latent_format(stored: weights.PersonWeights) -> comfy.latent_formats.LatentFormat:
    """Scale and preview colours of the model's latents."""
    if stored.config["family"] not in ("sd15", "sdxl"):
        return PersonLatents(stored)
    formats = {"sd15": comfy.latent_formats.SD15, "sdxl": comfy.latent_formats.SDXL}
    return formats[stored.config["family"]]()


def autoencoder(stored: weights.PersonWeights) -> comfy.sd.VAE:
    """The tiny family's patch autoencoder or a published AutoencoderKL."""
    config = stored.config["vae"]
    if "patch" in config:
        return PersonVAE(stored)
    widths = config["block_out_channels"]
    shape = {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": widths[0],
        "ch_mult": [width // widths[0] for width in widths],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    tensors = dict(stored.tensors["vae"])
    published = widths == [128, 256, 512, 512]  # what ComfyUI takes without being told
    params = {"ddconfig": shape, "embed_dim": config["latent_channels"]}
    vae = comfy.sd.VAE(sd=tensors, config=None if published else {"params": params})
    vae.throw_exception_if_invalid()
    return vae


class PersonLatents(comfy.latent_formats.LatentFormat):
    """Latents as the tiny family's own autoencoder makes them.

    ComfyUI's preview while sampling shows the mean colour of every patch, which is linear in them.
    """

    def __init__(self, stored: weights.PersonWeights) -> None:
        config = stored.config
        vae = {name: t.float() for name, t in stored.tensors["vae"].items()}
        self.latent_channels = config["latent_channels"]
        self.scale_factor = config["latent_scale"]
        self.spacial_downscale_ratio = config["downscale"]
        colours = vae["synthesis"].unflatten(0, (3, -1)).mean(1) / self.scale_factor
        self.latent_rgb_factors = colours.T.tolist()
        self.latent_rgb_factors_bias = vae["mean"].unflatten(0, (3, -1)).mean(1).tolist()


class PersonVAE(comfy.sd.VAE):
    """ComfyUI's VAE around the tiny family's autoencoder, in float32 and always loaded whole."""

    def __init__(self, stored: weights.PersonWeights) -> None:
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
        network = PatchAutoencoder(**stored.config["vae"])
        network.load_state_dict(stored.tensors["vae"])
        self.first_stage_model = network.requires_grad_(False).train(False)
        self.patcher = comfy.model_patcher.ModelPatcher(
            network, load_device=self.device, offload_device=vae_offload_device()
        )
        self.disable_offload = True
        self.latent_channels = stored.config["latent_channels"]
        self.downscale_ratio = self.upscale_ratio = network.patch
        self.process_input = lambda image: image * 2 - 1
        self.process_output = lambda image: image.add_(1).div_(2).clamp_(0, 1)
        bytes_per_cell = 4 * 4 * network.enter.out_channels
        self.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * bytes_per_cell
        self.memory_used_encode = lambda shape, dtype: shape[2] * shape[3] * 4 * 3 * 4
        self.size = None
        if hasattr(self, "model_size"):  # not in ComfyUI 0.3.64
            self.model_size()


class PersonFamily(comfy.supported_models_base.BASE):
    """What ComfyUI wants to know of a model family."""

    unet_extra_config = {}  # noqa: RUF012

    def __init__(self, stored: weights.PersonWeights, room: str, load_device: torch.device) -> None:
        config = stored.config[room]
        super().__init__(comfy_unet.comfy_unet_config(config))
        self.networks = stored.config["unet"], stored.config["unet_encoder"]
        self.latent_format = latent_format(stored)
        self.sampling_settings = {"zsnr": stored.config["zero_terminal_snr"]}
        self.predicts_clean = stored.config["prediction"] == "sample"
        parameters = sum(t.numel() for t in stored.tensors[room].values())
        dtype = comfy.model_management.unet_dtype(model_params=parameters)
        compute = comfy.model_management.unet_manual_cast(dtype, load_device)
        self.set_inference_dtype(dtype, compute)
        groups = config.get("norm_num_groups", comfy_unet.COMFY_GROUPS)
        self.custom_operations = comfy_unet.grouped(
            comfy.ops.pick_operations(dtype, compute), groups
        )


class PersonNetwork(comfy.model_base.BaseModel):
    """ComfyUI's model around one of the two UNets."""

    def __init__(self, family: PersonFamily) -> None:
        super().__init__(family)
        self.networks = family.networks
        if family.predicts_clean:
            self.model_sampling = CleanPrediction(family)

    def extra_conds_shapes(self, **given: Any) -> dict[str, tuple[int, ...]]:
        return {REFERENCES: given[REFERENCES]} if REFERENCES in given else {}

    def memory_required(
        self,
        input_shape: Sequence[int],
        cond_shapes: dict[str, list[tuple[int, ...]]] | None = None,
    ) -> int:
        """Bytes for the activations of both networks and the bank of reference features."""
        told = (cond_shapes or {}).get(REFERENCES) or [()]
        seen = [References(*told[0][i : i + 3]) for i in range(0, len(told[0]), 3)]
        dtype = self.manual_cast_dtype or self.get_dtype()
        size = comfy.model_management.dtype_size(dtype)
        return person_bytes(*self.networks, input_shape, seen, size)

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """Raises ValueError for conditioning that is not Person Conditioning's for this latent."""
        noise, concat = given["noise"], given.get("noise_concat")
        check_concat(concat, self.diffusion_model.in_channels - noise.shape[1])
        if len(concat) not in (1, len(noise)) or concat.shape[-2:] != noise.shape[-2:]:
            raise ValueError(
                f"Expected a latent of {_sizes(concat)}; got {_sizes(noise)}. Connect the latent "
                "of the same Person Conditioning."
            )
        return super().extra_conds(**given)


class CleanPrediction(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    """A network that predicts x0 itself."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor):
        return model_output


def _sizes(x: Tensor) -> str:
    return f"{len(x)} picture(s) of {x.shape[-1]}x{x.shape[-2]} cells"
