"""Runs the person model on benchmark pairs, through the same host and method as everybody."""

import torch
from torch import Tensor

from ...hosts import diffusers as host
from ...methods.flow import FlowField
from ...methods.flow_record import FlowRecord
from ...methods.leffa import Leffa, Reference
from ...methods.person import encode_dense_pose, generator_concat
from .heldout import Pairs

BATCH = 8


@torch.inference_mode()
def pose_transfer(
    model: host.PersonModel,
    vae: host.Autoencoder,
    pairs: Pairs,
    steps: int,
    cfg: float,
    seed: int,
) -> tuple[Tensor, FlowField]:
    """Repaints each target from noise: pictures [B, H, W, 3] and the flow of the run."""
    images, fields = [], []
    config = host.model_config(model)
    scale = config["latent_scale"]
    grey = vae.encode(torch.full_like(pairs.source[:1], 0.5)) * scale
    grid = grey.shape[-2:]
    for i in range(0, len(pairs), BATCH):
        at = slice(i, i + BATCH)
        source = pairs.source[at]
        rows = len(source)
        reference = Reference(
            source,
            vae.encode(source)[:, None] * scale,
            encode_dense_pose(pairs.source_pose[at], grid)[:, None],
        )
        concat = generator_concat(
            torch.ones(rows, 1, *grid),
            grey.expand(rows, -1, -1, -1),
            encode_dense_pose(pairs.target_pose[at], grid),
        )
        record = FlowRecord(config["flow_layers"])
        patched = host.patch(model, Leffa(reference, observer=record))
        conditioning = [(torch.zeros(1, 1, 1), {"noise_concat": concat})]
        start = {"samples": torch.zeros(rows, grey.shape[1], *grid)}
        out = host.sample(
            patched, seed + i, steps, cfg, "euler", "simple", conditioning, conditioning, start
        )
        images.append(vae.decode(out["samples"]))
        fields.append(record.field())
    xy = torch.cat([f.xy for f in fields])
    return torch.cat(images), FlowField(xy, torch.cat([f.confidence for f in fields]))
