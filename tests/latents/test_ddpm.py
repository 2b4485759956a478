# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from diffusers import DDPMScheduler

from seas_aug.latents.ddpm import ddpm_step


def test_equals_the_scheduler_of_diffusers_row_by_row():
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    generator = torch.Generator().manual_seed(0)
    noisy, predicted, noise = torch.randn(3, 4, 4, 5, 5, generator=generator)
    timesteps = torch.tensor([0, 1, 480, 999])
    found = ddpm_step(scheduler.alphas_cumprod, noisy, predicted, timesteps, noise)
    assert found.dtype == torch.float32
    for row, timestep in enumerate(timesteps.tolist()):
        # The mean, and the noise that the scheduler would draw by itself, by its own variance.
        plain = ddpm_step(scheduler.alphas_cumprod, noisy, predicted, timesteps, torch.zeros_like(noise))
        variance = scheduler._get_variance(timestep) if timestep else torch.zeros(())
        torch.testing.assert_close(found[row] - plain[row], variance.sqrt() * noise[row], atol=1e-5, rtol=1e-3)
        draw = torch.Generator().manual_seed(7)
        whole = scheduler.step(predicted[row], timestep, noisy[row], generator=draw).prev_sample
        if timestep:
            own = torch.randn(noise[row].shape, generator=torch.Generator().manual_seed(7))
            whole = whole - variance.sqrt() * own
        torch.testing.assert_close(plain[row], whole, atol=2e-4, rtol=1e-3)
