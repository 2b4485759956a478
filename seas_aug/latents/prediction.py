# SPDX-License-Identifier: Apache-2.0
"""One call for every layout of U-Net: text-to-image (C channels) and inpainting (2 C + 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from torch import Tensor

    from seas_aug.latents.hole import Hole
    from seas_aug.prompt.embedding import PromptEmbeddings


def latent_channels(unet: Any) -> int:
    """Return C, the channels of the latents that a U-Net predicts the noise of."""
    return int(unet.config.out_channels)


def is_inpainting(unet: Any) -> bool:
    """Return whether a U-Net reads a hole and the masked picture beside the noisy latents.

    Raises:
        SeasError: it reads something else.
    """
    given, channels = int(unet.config.in_channels), latent_channels(unet)
    if given not in (channels, 2 * channels + 1):
        message = (
            f"the U-Net reads {given} channels and predicts {channels}; known are text-to-image models "
            f"({channels} channels) and inpainting models ({2 * channels + 1}); give one of these."
        )
        raise SeasError(message)
    return given != channels


def prediction_target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return what a U-Net has to predict, ``[B, C, h, w]``.

    Velocity (Salimans and Ho 2022, arXiv 2202.00512, appendix D) weighs the picture at much noise, where a small error
    of the predicted noise is a large one of the picture: what is drawn from nothing is decided there.

    Args:
        scheduler: of the base; its ``prediction_type`` is ``epsilon`` or ``v_prediction``.
        clean: scaled latents.
        noise: standard normal, likewise.
        timesteps: int64 ``[B]``.
    """
    if scheduler.config.prediction_type == "epsilon":
        return noise
    levels = scheduler.alphas_cumprod.to(clean.device)[timesteps].reshape(-1, 1, 1, 1).to(clean.dtype)
    return levels.sqrt() * noise - (1 - levels).sqrt() * clean


def predict(unet: Any, noisy: Tensor, timesteps: Tensor, prompts: PromptEmbeddings, hole: Hole | None = None) -> Tensor:
    """Return what the U-Net predicts, noise or velocity as its schedule says: ``[B, C, h, w]``, float32.

    Args:
        unet: diffusers' ``UNet2DConditionModel``.
        noisy: noisy scaled latents ``[B, C, h, w]``.
        timesteps: int64, one for all or ``[B]``.
        prompts: of B prompts.
        hole: of B pictures; a text-to-image model has no use for it.

    Raises:
        ValueError: an inpainting model gets no hole.
    """
    dtype = unet.dtype
    inputs = noisy.to(dtype)
    if is_inpainting(unet):
        if hole is None:
            raise ValueError("An inpainting model needs a hole; give whole_hole(...) to draw or read a whole picture.")
        inputs = torch.cat([inputs, hole.mask.to(inputs), hole.reference.to(inputs)], dim=1)
    labels = prompts.pooled.to(dtype) if unet.config.class_embed_type == "projection" else None
    return unet(inputs, timesteps, prompts.context.to(dtype), class_labels=labels).sample.float()
