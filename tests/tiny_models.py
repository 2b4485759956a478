# SPDX-License-Identifier: Apache-2.0
"""Tiny, randomly initialised diffusion models for the tests; each builds in a few milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MAX_LENGTH = 77
TEXT_WIDTH = 16


def tiny_tokenizer(max_length: int = MAX_LENGTH) -> CLIPTokenizer:
    """Return a real CLIP tokenizer with a byte-level vocabulary (514 tokens) plus the pieces of "object"."""
    letters = sorted(ByteLevel.alphabet())
    merges = [("o", "b"), ("j", "e"), ("ob", "je"), ("c", "t</w>")]
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)


def tiny_text_encoder(tokenizer: CLIPTokenizer, width: int = TEXT_WIDTH, max_length: int = MAX_LENGTH) -> CLIPTextModel:
    """Return a frozen-free, one-layer CLIP text model that fits the tokenizer, in eval mode."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=max_length,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def tiny_unet(
    channels: Sequence[int] = (8, 16, 16), sample_size: int = 16, text_width: int = TEXT_WIDTH, layers: int = 1
) -> UNet2DConditionModel:
    """Return a U-Net of Stable Diffusion's topology: cross-attention on all levels but the last; 4 latent channels."""
    torch.manual_seed(1)
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        cross_attention_dim=text_width,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def tiny_vae(channels: Sequence[int] = (8, 8, 16)) -> AutoencoderKL:
    """Return a VAE with 4 latent channels that shrinks by 2 for each channel count after the first."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=tuple(channels),
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
    ).eval()


def tiny_scheduler(spacing: str = "linspace") -> DPMSolverMultistepScheduler:
    """Return DPM-Solver++ on Stable Diffusion's training schedule."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing=spacing
    )
