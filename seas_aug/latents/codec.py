# SPDX-License-Identifier: Apache-2.0
"""Images to scaled latents and back, for any diffusers autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


def latent_statistics(vae: Any, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return mean and standard deviation of the scaled latents of ``images``.

    Args:
        vae: diffusers autoencoder; one without a posterior (AutoencoderDC) has no standard deviation.
        images: float ``[B, 3, H, W]`` in [-1, 1].

    Returns:
        ``[B, C, h, w]`` mean, and standard deviation of the same shape or None; both times ``scaling_factor``.
    """
    encoded = vae.encode(images.to(vae.dtype))
    factor = float(vae.config.scaling_factor)
    if hasattr(encoded, "latent"):
        return encoded.latent.float() * factor, None
    posterior = encoded.latent_dist
    return posterior.mean.float() * factor, posterior.std.float() * factor


def encode_latents(vae: Any, images: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return scaled latents ``[B, C, h, w]`` of images ``[B, 3, H, W]`` in [-1, 1].

    Args:
        vae: diffusers autoencoder.
        images: float images.
        noise: standard normal ``[B, C, h, w]`` to draw from the posterior; None takes its mean.
    """
    mean, deviation = latent_statistics(vae, images)
    return mean if deviation is None or noise is None else mean + deviation * noise


def decode_latents(vae: Any, latents: Tensor) -> Tensor:
    """Return images float ``[B, 3, H, W]``, roughly in [-1, 1], of scaled latents ``[B, C, h, w]``."""
    return vae.decode((latents / float(vae.config.scaling_factor)).to(vae.dtype)).sample.float()


def latent_scale(vae: Any) -> int:
    """Return how many image pixels one latent pixel spans along a side (8 for Stable Diffusion 1.x)."""
    blocks = getattr(vae.config, "block_out_channels", None) or vae.config.encoder_block_out_channels
    return 2 ** (len(blocks) - 1)


def latent_shape(unet: Any, vae: Any, image_size: int) -> torch.Size:
    """Return ``[C, h, w]`` of the latents of square images of ``image_size`` pixels."""
    side = image_size // latent_scale(vae)
    return torch.Size((unet.config.out_channels, side, side))
