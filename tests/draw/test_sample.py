# SPDX-License-Identifier: Apache-2.0
"""The start of sampling against a reference written out here."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from seas_aug.config import SamplingConfig
from seas_aug.data.seeds import derive_seed
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.references import is_grey_picture
from seas_aug.draw.sample import SamplerSettings, decode_pictures, draw_windows, start_noise
from seas_aug.prompt.embedding import encode_prompts
from tests.draw.helpers import pixels

SEEDS = [3, 8]


def solver_settings(steps, guidance, strength, mask_steps, official=False, against=""):
    sampling = SamplingConfig(num_inference_steps=steps, guidance_scale=guidance, mask_steps=mask_steps)
    return SamplerSettings(sampling, strength, against, official)


@pytest.fixture(scope="module")
def pipe(run_folder):
    return SeaSPipeline.from_pretrained(run_folder)


def cumulative(steps):
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2).cumprod(0)


def first_pass(pipe, settings):
    """Return timesteps of all passes and the latents that the first pass of each image saw."""
    seen = []
    with torch.no_grad(), pipe.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2])):
        draw_windows(pipe, pixels(pipe, [1, 0]), SEEDS, "a <ob1>", False, settings)
    alone = 1 if settings.official else 2  # on a CPU one image at a time, unless official
    timesteps = [int(timestep) for _, timestep in seen[::alone]]
    halves = [latents.chunk(2) for latents, _ in seen]  # with and without prompt
    assert all(torch.equal(*pair) for pair in halves)
    return timesteps, torch.cat([half for half, _ in halves[:alone]])


def clean_and_noise(pipe, sample=False):
    """Return unscaled latents of the references (the posterior's mean or a sample), and the noise of the seeds."""
    images = pixels(pipe, [1, 0]).float() / 127.5 - 1
    with torch.no_grad():
        posteriors = [pipe.vae.encode(image[None]).latent_dist for image in images]
    clean = torch.cat([posterior.mean for posterior in posteriors])
    if sample:
        own = torch.cat([start_noise(derive_seed(seed, "posterior"), (1, 4, 8, 8)) for seed in SEEDS])
        clean = clean + torch.cat([posterior.std for posterior in posteriors]) * own
    noise = [torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in SEEDS]
    return clean, torch.cat(noise)


@pytest.mark.parametrize(("strength", "first"), [(1.0, 999), (0.8, 799), (0.5, 500), (0.01, 150)])
def test_noise_matches_the_first_timestep(pipe, strength, first):
    """20 steps; the last 3 always remain, because the mask is read there."""
    timesteps, latents = first_pass(pipe, solver_settings(20, 3.0, strength, 3))
    assert timesteps[0] == first
    assert timesteps == sorted(timesteps, reverse=True)
    assert timesteps[-3:] == [150, 100, 50]
    clean, noise = clean_and_noise(pipe)
    level = float(cumulative(1000)[first])
    expected = level**0.5 * clean * pipe.vae.config.scaling_factor + (1 - level) ** 0.5 * noise
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)


def test_a_sampled_start(pipe):
    """The paper preset's; another draw than that of the noise, so that they do not go together."""
    settings = solver_settings(20, 3.0, 1.0, 3)
    sampling = dataclasses.replace(settings.sampling, reference_latent="sample")
    _, latents = first_pass(pipe, dataclasses.replace(settings, sampling=sampling))
    clean, noise = clean_and_noise(pipe, sample=True)
    assert not torch.allclose(clean, clean_and_noise(pipe)[0], atol=1e-3)
    level = float(cumulative(1000)[999])
    expected = level**0.5 * clean * pipe.vae.config.scaling_factor + (1 - level) ** 0.5 * noise
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)


def test_official_start(pipe):
    """An unscaled, sampled latent, noised by 1500 betas."""
    timesteps, latents = first_pass(pipe, solver_settings(20, 3.0, 1.0, 3, official=True))
    clean, noise = clean_and_noise(pipe, sample=True)
    level = float(cumulative(1500)[-1])
    assert round(level**0.5, 4) == 0.0178
    torch.testing.assert_close(latents, level**0.5 * clean + (1 - level) ** 0.5 * noise, atol=1e-5, rtol=1e-4)
    assert timesteps == first_pass(pipe, solver_settings(20, 3.0, 1.0, 3))[0]


def test_masks_are_the_mean_of_the_last_steps(pipe, monkeypatch):
    """The latents whose masks are read are those of the U-Net pass, and each step counts the same."""
    inputs, read = [], []

    def decoder(vae, latents):
        read.append(latents.clone())
        return ["decoder"]

    def predict(unet_features, vae_features):
        assert len(unet_features[0]) == 1  # the conditional half only
        assert vae_features == ["decoder"]
        logits = torch.zeros(1, 2, 32, 32)
        logits[:, 1] = torch.logit(torch.tensor(len(read) / 10))
        return SimpleNamespace(refined=logits)

    monkeypatch.setattr("seas_aug.draw.sample.decoder_features", decoder)
    monkeypatch.setattr(pipe.mask_predictor, "forward", predict)
    hook = pipe.unet.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0][:1]))
    with torch.no_grad(), hook:
        _, total = draw_windows(pipe, pixels(pipe, [1]), SEEDS[:1], "a", True, solver_settings(6, 3.0, 1.0, 3))
    assert len(inputs) == 6
    assert len(read) == 3
    assert all(torch.equal(one, other) for one, other in zip(read, inputs[3:], strict=True))
    torch.testing.assert_close(total, torch.full((1, 1, 32, 32), 0.2))


@pytest.mark.parametrize("against", ["", "a <ob1>"])
def test_guidance_leads_away_from_the_chosen_prompt(pipe, against, monkeypatch):
    """The noise that reaches the solver is against + scale * (conditional - against), by two passes of its own."""
    prompt = "a <ob1> with " + " ".join(pipe.prompt.anomaly_words(pipe.anomaly_types[0]))
    steps = []
    original = pipe.scheduler.step
    monkeypatch.setattr(pipe.scheduler, "step", lambda *a: (steps.append(a), original(*a))[1])
    with torch.no_grad():
        draw_windows(
            pipe, pixels(pipe, [1]), SEEDS[:1], prompt, False, solver_settings(4, 2.5, 1.0, 1, against=against)
        )
        for noise, timestep, latents in steps:
            contexts = [encode_prompts(pipe.tokenizer, pipe.text_encoder, [text])[0] for text in (prompt, against)]
            conditional, away = (pipe.unet(latents, timestep, context).sample for context in contexts)
            torch.testing.assert_close(noise, away + 2.5 * (conditional - away), atol=1e-4, rtol=1e-3)
    assert len(steps) == 4


def test_normal_images_have_nothing_to_be_led_away_from(pipe):
    """One pass, half the time: the same prompt on both sides."""
    rows = []
    with torch.no_grad(), pipe.unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0]))):
        draw_windows(
            pipe, pixels(pipe, [1]), SEEDS[:1], "a <ob1>", False, solver_settings(4, 2.5, 1.0, 1, against="a <ob1>")
        )
    assert rows == [1] * 4


def test_grey_is_the_mean_of_the_channels(pipe):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        colour, grey = (decode_pictures(pipe, latents, wanted) for wanted in (False, True))
    assert grey.dtype == torch.uint8 and grey.shape == (2, 3, 32, 32)
    assert is_grey_picture(grey.permute(0, 2, 3, 1).numpy().reshape(-1, 32, 3))
    assert not is_grey_picture(colour.permute(0, 2, 3, 1).numpy().reshape(-1, 32, 3))
    assert (grey[:, 0].float() - colour.float().mean(dim=1)).abs().max() <= 1
