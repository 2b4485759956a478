# SPDX-License-Identifier: Apache-2.0
"""Attention maps and mask probabilities of real defect images, at low noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from seas_aug.attention.capture import capture_attention
from seas_aug.attention.maps import anomaly_heatmap, reduce_maps
from seas_aug.config import AttentionConfig
from seas_aug.errors import SeasError
from seas_aug.latents.codec import encode_latents
from seas_aug.latents.hole import Hole, hidden_latents, whole_hole
from seas_aug.latents.prediction import is_inpainting, predict
from seas_aug.latents.start import start_latent
from seas_aug.masks.features import read_features
from seas_aug.masks.predictor import probabilities
from seas_aug.prompt.embedding import encode_prompts
from seas_aug.prompt.ua_prompt import token_positions

if TYPE_CHECKING:
    from torch import Tensor

    from seas_aug.draw.pipeline import SeaSPipeline

# Little noise: the tail of the sampling, where masks are read when images are generated.
LOW_NOISE_TIMESTEPS = (10, 30, 50)


def _noised(pipe: SeaSPipeline, images: Tensor, timesteps: Sequence[int], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield noisy scaled latents ``[B, C, h, w]`` and their timestep; every row gets the same noise."""
    latents = encode_latents(pipe.vae, images.to(pipe.unet.device))
    for timestep in timesteps:
        generator = torch.Generator().manual_seed(seed + timestep)
        noise = torch.randn(latents.shape[1:], generator=generator).expand(latents.shape)
        moment = torch.tensor(timestep, device=latents.device)
        yield start_latent(pipe.scheduler, latents, noise.to(latents), moment).to(pipe.unet.dtype), moment


def _hole(pipe: SeaSPipeline, images: Tensor) -> Hole | None:
    if not is_inpainting(pipe.unet):
        return None
    return whole_hole(hidden_latents(pipe.vae, images.shape[-1]), len(images))


@torch.no_grad()
def attention_heatmaps(
    pipe: SeaSPipeline,
    images: Tensor,
    anomaly_types: Sequence[str],
    timesteps: Sequence[int] = LOW_NOISE_TIMESTEPS,
    attention: AttentionConfig | None = None,
    seed: int = 0,
) -> Tensor:
    """Return where the anomaly tokens look, ``[B, 1, H, W]`` in [0, 1] on the CPU.

    Args:
        pipe: fine-tuned model.
        images: float ``[B, 3, H, W]`` in [-1, 1].
        anomaly_types: the type of each image.
        timesteps: noise levels that are averaged.
        attention: which maps are read; None takes those of the DA loss.
        seed: seed of the noise.

    Raises:
        SeasError: an unknown type, or a resolution that the U-Net has no maps of.
    """
    read = attention or AttentionConfig()
    prompts = [pipe.prompt.anomaly_prompt(name) for name in anomaly_types]
    embeddings = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
    words = [pipe.prompt.supervised_words(name) for name in anomaly_types]
    positions = token_positions(pipe.tokenizer, embeddings.input_ids, words)
    total = torch.zeros(len(images), 1, *images.shape[-2:])
    rows = slice(0, len(images))
    for noisy, moment in _noised(pipe, images, timesteps, seed):
        with capture_attention(pipe.unet, positions, rows, read.resolutions, read.include_up_blocks) as store:
            predict(pipe.unet, noisy, moment, embeddings, _hole(pipe, images))
        maps = reduce_maps(store, pipe.config.official)
        total += anomaly_heatmap(maps, pipe.prompt.normal_tokens, images.shape[-1]).cpu()
    return total / len(timesteps)


@torch.no_grad()
def mask_probabilities(
    pipe: SeaSPipeline,
    images: Tensor,
    anomaly_types: Sequence[str],
    timesteps: Sequence[int] = LOW_NOISE_TIMESTEPS,
    seed: int = 0,
) -> Tensor:
    """Return the mask predictor's result on real images, ``[B, 1, H, W]`` in [0, 1] on the CPU.

    Refined Mask Prediction (RMP) reads the generator's features of the encoded image, the detail branch the image.

    Args:
        pipe: fine-tuned model with a mask predictor.
        images: float ``[B, 3, H, W]`` in [-1, 1].
        anomaly_types: the type of each image.
        timesteps: noise levels that are averaged.
        seed: seed of the noise.

    Raises:
        SeasError: an unknown type, or a model without mask predictor.
    """
    if pipe.mask_predictor is None:
        message = "this model has no mask predictor, so it finds no defects; finish 'seas-aug finetune' first."
        raise SeasError(message)
    return read_masks(pipe, images, [pipe.prompt.anomaly_prompt(name) for name in anomaly_types], timesteps, seed)


@torch.no_grad()
def read_masks(
    pipe: SeaSPipeline,
    images: Tensor,
    prompts: Sequence[str],
    timesteps: Sequence[int] = LOW_NOISE_TIMESTEPS,
    seed: int = 0,
) -> Tensor:
    """Return the same for any prompts, one per image. An inpainting model sees a hole that is the whole image."""
    embeddings = encode_prompts(pipe.tokenizer, pipe.text_encoder, prompts)
    total = torch.zeros(len(images), 1, *images.shape[-2:])
    for noisy, moment in _noised(pipe, images, timesteps, seed):
        features = read_features(pipe.unet, pipe.vae, noisy, moment, embeddings, len(noisy), hole=_hole(pipe, images))
        total += probabilities(pipe.mask_predictor(*features).refined).cpu()
    device = pipe.unet.device
    known = (total / len(timesteps)).to(device)
    return pipe.mask_predictor.finish(known, images.to(device), embeddings.pooled).cpu()
