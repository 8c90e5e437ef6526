"""A diffusers pipeline and a CLIP vision model with random weights, for tests."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

WIDTH, SIDE = 16, 32


def save_pipeline(folder: Path, channels: int = 9, prediction: str = "epsilon") -> Path:
    """A pipeline of SD1.5's kind, for pictures of SIDE pixels, as diffusers saves it."""
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=SIDE,
    ).save_pretrained(folder / "vae")
    letters = [chr(n) for n in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=0,
        eos_token_id=1,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(words)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    named = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 24}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(named))
    DDPMScheduler(prediction_type=prediction).save_pretrained(folder / "scheduler")
    return folder


def save_clip_vision(folder: Path) -> Path:
    """A CLIP vision model with 8 values per token, for pictures of 32 pixels."""
    torch.manual_seed(1)
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    CLIPVisionModel(config).save_pretrained(folder)
    return folder
