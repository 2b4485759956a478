# SPDX-License-Identifier: Apache-2.0
"""Start of sampling from a normal reference (SeaS specification, section 5).

The amount of injected noise and the timestep that the solver starts at belong together: the authors' code breaks this
with an unscaled latent and a second schedule, which is kept as ``official_start_latent`` for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler


def start_timestep_index(num_train_timesteps: int, strength: float, timesteps: torch.Tensor | Sequence[int]) -> int:
    """Choose the step of a schedule that sampling starts at.

    Args:
        num_train_timesteps: T, length of the training schedule.
        strength: in (0, 1]; 1 starts at the first timestep, almost pure noise.
        timesteps: descending timesteps after ``scheduler.set_timesteps``, integers [S].

    Returns:
        Index in 0..S-1 of the timestep nearest to ``strength * T - 1``, the noisier of two equally near ones. Sample
        over ``timesteps[index:]`` after ``scheduler.set_begin_index(index)``.

    Raises:
        SeasError: ``strength`` is not in (0, 1].
    """
    if not 0 < strength <= 1:
        raise SeasError(f"strength is {strength}; give a number above 0 and up to 1.")
    if strength == 1:
        return 0
    wanted = strength * num_train_timesteps - 1
    distances = [abs(float(timestep) - wanted) for timestep in timesteps]
    return distances.index(min(distances))


def first_step(
    num_train_timesteps: int,
    strength: float,
    timesteps: torch.Tensor | Sequence[int],
    mask_steps: int,
    max_timestep: int | None = None,
) -> int:
    """Choose the step that sampling starts at, where masks are read and fine-tuning has seen the noise.

    Args:
        num_train_timesteps: T, length of the training schedule.
        strength: in (0, 1].
        timesteps: descending timesteps after ``scheduler.set_timesteps``, integers [S].
        mask_steps: how many last steps read the mask; they always remain.
        max_timestep: fine-tuning saw timesteps below it only; None means all.

    Returns:
        Index in 0..S-mask_steps: nearest to the strength among the steps that are allowed.

    Raises:
        SeasError: ``strength`` is not in (0, 1], or no step is allowed.
    """
    limit = num_train_timesteps if max_timestep is None else max_timestep
    index = start_timestep_index(num_train_timesteps, strength, timesteps)
    while index < len(timesteps) - mask_steps and int(timesteps[index]) >= limit:
        index += 1
    index = min(index, len(timesteps) - mask_steps)
    if int(timesteps[index]) >= limit:
        raise SeasError(
            f"num_inference_steps is {len(timesteps)}, so that sampling has to start at timestep "
            f"{int(timesteps[index])}, but this model was fine-tuned on those below {limit}; give more steps."
        )
    return index


def start_latent(
    scheduler: DPMSolverMultistepScheduler,
    reference_latent: torch.Tensor,
    noise: torch.Tensor,
    timestep: int | torch.Tensor,
) -> torch.Tensor:
    """Noise a reference to exactly the level of a timestep: ``sqrt(abar_t) z + sqrt(1 - abar_t) noise``.

    Args:
        scheduler: its training schedule ``alphas_cumprod`` is used.
        reference_latent: scaled latents z of the references (times the VAE's scaling factor), float [B, C, h, w].
        noise: standard normal, like ``reference_latent``.
        timestep: t, one for all or integers [B].

    Returns:
        Start latents [B, C, h, w] in the dtype of ``noise``.
    """
    index = torch.as_tensor(timestep, device="cpu").long()
    alpha_bar = scheduler.alphas_cumprod.cpu()[index].to(noise.device, torch.float32).reshape(-1, 1, 1, 1)
    mixed = alpha_bar.sqrt() * reference_latent.float() + (1 - alpha_bar).sqrt() * noise.float()
    return mixed.to(noise.dtype)


def official_start_latent(
    unscaled_latent: torch.Tensor, noise: torch.Tensor, beta_start: float, beta_end: float, num_steps: int = 1500
) -> torch.Tensor:
    """Noise a reference as the authors do ("add_morenoise"); sampling then starts at index 0.

    A new scaled-linear schedule of ``num_steps`` betas is run to its end, and the latent is not multiplied by the
    VAE's scaling factor.

    Args:
        unscaled_latent: what the VAE's encoder gives, float [B, C, h, w].
        noise: standard normal, like ``unscaled_latent``.
        beta_start: first beta of the model's schedule (Stable Diffusion: 0.00085).
        beta_end: last beta (0.012).
        num_steps: length n of the new schedule (paper's code: 1500).

    Returns:
        Start latents [B, C, h, w] in the dtype of ``noise``.
    """
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, num_steps, dtype=torch.float64) ** 2
    alpha_bar = float((1 - betas).prod())
    mixed = alpha_bar**0.5 * unscaled_latent.float() + (1 - alpha_bar) ** 0.5 * noise.float()
    return mixed.to(noise.dtype)
