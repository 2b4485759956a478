# SPDX-License-Identifier: Apache-2.0
"""The start of sampling against a reference written out here."""

from __future__ import annotations

import pytest
import torch

from seas_aug.pipeline.sampler import ImageRequest, SamplerSettings, draw_pairs
from seas_aug.pipeline.seas_pipeline import SeaSPipeline
from seas_aug.prompt.embedding import encode_prompts

REQUESTS = [ImageRequest(3, 3, 1, 0), ImageRequest(4, 8, 0, 0)]


@pytest.fixture(scope="module")
def pipe(run_folder):
    return SeaSPipeline.from_pretrained(run_folder)


def cumulative(steps):
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2).cumprod(0)


def first_pass(pipe, settings):
    """Return timesteps of all passes and the latents that the first pass of each image saw."""
    seen = []
    with torch.no_grad(), pipe.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2])):
        draw_pairs(pipe, REQUESTS, pipe.references, "a <ob1>", False, settings)
    timesteps = [int(timestep) for _, timestep in seen[::2]]  # one image at a time on a CPU
    assert all(torch.equal(latents[0], latents[1]) for latents, _ in seen)  # with and without prompt
    return timesteps, torch.cat([seen[0][0][:1], seen[1][0][:1]])


def clean_and_noise(pipe):
    """Return unscaled latents of the references, and the noise of the seeds."""
    images = pipe.references.images[[1, 0]].float() / 127.5 - 1
    with torch.no_grad():
        clean = torch.cat([pipe.vae.encode(image[None]).latent_dist.mean for image in images])
    noise = [torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in (3, 8)]
    return clean, torch.cat(noise)


@pytest.mark.parametrize(("strength", "first"), [(1.0, 999), (0.8, 799), (0.5, 500), (0.01, 150)])
def test_noise_matches_the_first_timestep(pipe, strength, first):
    """20 steps; the last 3 always remain, because the mask is read there."""
    timesteps, latents = first_pass(pipe, SamplerSettings(20, 3.0, strength, 3, False))
    assert timesteps[0] == first
    assert timesteps == sorted(timesteps, reverse=True)
    assert timesteps[-3:] == [150, 100, 50]
    clean, noise = clean_and_noise(pipe)
    level = float(cumulative(1000)[first])
    expected = level**0.5 * clean * pipe.vae.config.scaling_factor + (1 - level) ** 0.5 * noise
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)


def test_official_start(pipe):
    """The only thing that the switch changes in sampling: an unscaled latent, noised by 1500 betas."""
    timesteps, latents = first_pass(pipe, SamplerSettings(20, 3.0, 1.0, 3, True))
    clean, noise = clean_and_noise(pipe)
    level = float(cumulative(1500)[-1])
    assert round(level**0.5, 4) == 0.0178
    torch.testing.assert_close(latents, level**0.5 * clean + (1 - level) ** 0.5 * noise, atol=1e-5, rtol=1e-4)
    assert timesteps == first_pass(pipe, SamplerSettings(20, 3.0, 1.0, 3, False))[0]


def test_masks_are_the_mean_of_the_last_steps(pipe, monkeypatch):
    """The latents whose masks are read are those of the U-Net pass, and each step counts the same."""
    inputs, read = [], []

    def predict(vae, predictor, features, latents):
        assert features[0].shape[0] == len(latents)  # the conditional half only
        read.append(latents.clone())
        return torch.full((len(latents), 1, 32, 32), float(len(read)))

    monkeypatch.setattr("seas_aug.pipeline.sampler.predict_mask", predict)
    hook = pipe.unet.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0][:1]))
    with torch.no_grad(), hook:
        _, total = draw_pairs(pipe, REQUESTS[:1], pipe.references, "a", True, SamplerSettings(6, 3.0, 1.0, 3, False))
    assert len(inputs) == 6
    assert len(read) == 3
    assert all(torch.equal(one, other) for one, other in zip(read, inputs[3:], strict=True))
    torch.testing.assert_close(total, torch.full((1, 1, 32, 32), 2.0))


@pytest.mark.parametrize("against", ["", "a <ob1>"])
def test_guidance_leads_away_from_the_chosen_prompt(pipe, against, monkeypatch):
    """The noise that reaches the solver is against + scale * (conditional - against), by two passes of its own."""
    prompt = "a <ob1> with " + " ".join(pipe.prompt.anomaly_words(pipe.anomaly_types[0]))
    steps = []
    original = pipe.scheduler.step
    monkeypatch.setattr(pipe.scheduler, "step", lambda *a: (steps.append(a), original(*a))[1])
    with torch.no_grad():
        draw_pairs(pipe, REQUESTS[:1], pipe.references, prompt, False, SamplerSettings(4, 2.5, 1.0, 1, False, against))
        for noise, timestep, latents in steps:
            contexts = [encode_prompts(pipe.tokenizer, pipe.text_encoder, [text])[0] for text in (prompt, against)]
            conditional, away = (pipe.unet(latents, timestep, context).sample for context in contexts)
            torch.testing.assert_close(noise, away + 2.5 * (conditional - away), atol=1e-4, rtol=1e-3)
    assert len(steps) == 4


def test_normal_images_have_nothing_to_be_led_away_from(pipe):
    """One pass, half the time: the same prompt on both sides."""
    rows = []
    with torch.no_grad(), pipe.unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0]))):
        draw_pairs(
            pipe, REQUESTS[:1], pipe.references, "a <ob1>", False, SamplerSettings(4, 2.5, 1.0, 1, False, "a <ob1>")
        )
    assert rows == [1] * 4
