# SPDX-License-Identifier: Apache-2.0
"""One step of the training noise schedule backwards (Denoising Diffusion Probabilistic Models, Ho et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


def ddpm_step(alphas_cumprod: Tensor, noisy: Tensor, predicted: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
    """Draw z_{t-1} given z_t and the predicted noise (Ho et al. 2020, equations 6, 7 and 15).

    With z_0 as the noise tells it and b = abar_{t-1}, a = abar_t, alpha = a / b, beta = 1 - alpha::

        z_0     = (z_t - sqrt(1 - a) predicted) / sqrt(a)
        z_{t-1} = sqrt(b) beta / (1 - a) z_0 + sqrt(alpha) (1 - b) / (1 - a) z_t + sqrt(beta (1 - b) / (1 - a)) noise

    At t = 0 (b = 1) that is z_0 itself. Nothing is clipped, as Stable Diffusion's latents have no range.

    Args:
        alphas_cumprod: abar of the training schedule, float ``[T]``.
        noisy: z_t, float ``[B, C, h, w]``.
        predicted: its predicted noise, any float dtype, like ``noisy``.
        timesteps: t, int64 ``[B]`` in 0..T-1.
        noise: standard normal, like ``noisy``.

    Returns:
        z_{t-1}, float32 ``[B, C, h, w]``.
    """
    cumulative = alphas_cumprod.to(noisy.device, torch.float32)
    bars = torch.cat([cumulative.new_ones(1), cumulative])
    before, now = (bars[timesteps + shift].reshape(-1, 1, 1, 1) for shift in (0, 1))
    alpha = now / before
    beta = 1 - alpha
    clean = (noisy.float() - (1 - now).sqrt() * predicted.float()) / now.sqrt()
    mean = before.sqrt() * beta / (1 - now) * clean + alpha.sqrt() * (1 - before) / (1 - now) * noisy.float()
    return mean + ((1 - before) / (1 - now) * beta).sqrt() * noise.float()
