"""A node pack for the test server: the things that do not fit ours. Linked into custom_nodes."""

import dataclasses

import comfy.ldm.flux.model as flux
import comfy.model_base
import comfy.model_management as management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch


class Node:
    FUNCTION = "make"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  ComfyUI's name
        return {"required": {}}


class OtherFamily(Node):
    """A MODEL without a UNet: a small Flux with random weights."""

    RETURN_TYPES = ("MODEL",)

    def make(self):
        shape = {
            "in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "context_in_dim": 8,
            "hidden_size": 32, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1,
            "depth_single_blocks": 1, "axes_dim": [4, 6, 6], "theta": 10000, "patch_size": 2,
            "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
        }  # fmt: skip
        known = {field.name for field in dataclasses.fields(flux.FluxParams)}
        shape = {name: value for name, value in shape.items() if name in known}
        family = comfy.supported_models.Flux({"image_model": "flux", **shape})
        family.set_inference_dtype(torch.float32, None)
        model = comfy.model_base.Flux(family)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        devices = management.get_torch_device(), management.unet_offload_device()
        return (comfy.model_patcher.ModelPatcher(model, *devices),)


class OtherVAE(Node):
    """A VAE whose latents are the pixels: 3 channels."""

    RETURN_TYPES = ("VAE",)

    def make(self):
        return (comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}),)


class PlainText(Node):
    """CONDITIONING as CLIP Text Encode makes it."""

    RETURN_TYPES = ("CONDITIONING",)

    def make(self):
        return ([[torch.zeros(1, 77, 768), {"pooled_output": torch.zeros(1, 768)}]],)


NODE_CLASS_MAPPINGS = {
    "TestOtherFamily": OtherFamily,
    "TestOtherVAE": OtherVAE,
    "TestPlainText": PlainText,
}
