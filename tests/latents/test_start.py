# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.errors import SeasError
from seas_aug.latents.start import first_step, official_start_latent, start_latent, start_timestep_index
from tests.tiny_models import tiny_scheduler


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 1), st.integers(1, 50), st.sampled_from(["linspace", "leading", "trailing"]))
def test_index_is_the_nearest_timestep(strength, steps, spacing):
    scheduler = tiny_scheduler(spacing)
    scheduler.set_timesteps(steps)
    index = start_timestep_index(1000, strength, scheduler.timesteps)
    chosen = abs(int(scheduler.timesteps[index]) - (strength * 1000 - 1))
    assert all(chosen <= abs(int(t) - (strength * 1000 - 1)) + 1e-9 for t in scheduler.timesteps)


@given(st.integers(1, 40))
def test_more_strength_never_starts_later(steps):
    scheduler = tiny_scheduler()
    scheduler.set_timesteps(steps)
    indices = [start_timestep_index(1000, k / 20, scheduler.timesteps) for k in range(1, 21)]
    assert indices == sorted(indices, reverse=True)
    assert indices[-1] == 0


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01])
def test_strength_out_of_range(strength):
    with pytest.raises(SeasError, match="above 0 and up to 1"):
        start_timestep_index(1000, strength, [999, 500])


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.8, 1.0])
def test_injected_noise_is_what_the_solver_believes(strength):
    scheduler = tiny_scheduler()
    scheduler.set_timesteps(20)
    index = start_timestep_index(1000, strength, scheduler.timesteps)
    latent, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    timestep = scheduler.timesteps[index]
    start = start_latent(scheduler, latent, noise, timestep)
    scheduler.set_begin_index(index)
    torch.testing.assert_close(start, scheduler.add_noise(latent, noise, timestep.reshape(1)), rtol=0, atol=1e-4)
    alpha_bar = 1.0
    for beta in torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square()[: int(timestep) + 1].tolist():
        alpha_bar *= 1 - beta
    torch.testing.assert_close(start, alpha_bar**0.5 * latent + (1 - alpha_bar) ** 0.5 * noise, rtol=0, atol=1e-4)


def test_a_timestep_per_image_and_half_precision():
    scheduler = tiny_scheduler()
    latent, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    both = start_latent(scheduler, latent, noise, torch.tensor([10, 900]))
    torch.testing.assert_close(both[1:], start_latent(scheduler, latent[1:], noise[1:], 900))
    assert start_latent(scheduler, latent.half(), noise.half(), 900).dtype == torch.float16


def test_official_runs_its_own_schedule():
    latent, noise = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    assert official_start_latent(latent, noise, 0.00085, 0.012)[0, 0, 0, 0].item() == pytest.approx(0.0178, abs=1e-4)
    thousand = official_start_latent(latent, noise, 0.00085, 0.012, num_steps=1000)[0, 0, 0, 0].item()
    assert thousand == pytest.approx(0.0683, abs=1e-4)
    only_noise = official_start_latent(noise, latent, 0.00085, 0.012)[0, 0, 0, 0].item()
    assert only_noise == pytest.approx((1 - 0.0178**2) ** 0.5, abs=1e-4)


def test_official_differs_from_the_matched_start():
    latent, noise = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    matched = start_latent(tiny_scheduler(), 0.18215 * latent, noise, 999)
    official = official_start_latent(latent, noise, 0.00085, 0.012)
    assert (matched - official).abs().max() > 1e-3


@pytest.mark.parametrize("steps", [20, 10, 8, 7])
@pytest.mark.parametrize("strength", [0.65, 0.3, 0.05])
def test_first_step_is_one_that_was_trained_on_and_leaves_those_of_the_mask(strength, steps):
    """Trained below 675 (strength 0.65 at 20 steps); at 10 steps the nearest one, 699, would be too noisy."""
    timesteps = [round(999 - 999 * index / steps) for index in range(steps)]
    index = first_step(1000, strength, timesteps, 2, 675)
    assert timesteps[index] < 675
    assert index <= steps - 2
    allowed = [i for i in range(steps - 1) if timesteps[i] < 675]
    nearest = min(allowed, key=lambda i: (abs(timesteps[i] - (strength * 1000 - 1)), i))
    assert index == nearest


def test_too_few_steps_for_what_was_trained_on():
    with pytest.raises(SeasError, match=r"has to start at timestep 999, but .* below 675; give more steps"):
        first_step(1000, 0.65, [999, 500], 2, 675)
    assert first_step(1000, 0.65, [999, 500], 2) == 0
