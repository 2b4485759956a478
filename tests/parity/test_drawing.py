# SPDX-License-Identifier: Apache-2.0
"""Images and masks that ``official`` draws after a fine-tuning, against the slow transcription."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seas_aug.data.seeds import derive_seed
from seas_aug.draw.pipeline import SeaSPipeline
from tests.parity.case import GROUPS, HEADS, LATENT, STEPS, double_models, double_weights, prompts
from tests.parity.formulas import decoded, levels, posterior_sample, sampled

SEEDS = [5, 7]


def normal(seed):
    return torch.randn((1, 4, LATENT, LATENT), generator=torch.Generator().manual_seed(seed))


def transcribed(pipe, indices):
    """Return pictures ``[B, H, W, 3]`` in 0..255, before they are rounded, and probabilities ``[B, H, W]``."""
    models, weights = double_models(pipe), double_weights(pipe.mask_predictor)
    images = torch.stack([torch.from_numpy(pipe.references.native(index).copy()) for index in indices])
    images = images.permute(0, 3, 1, 2).double() / 127.5 - 1
    clean = posterior_sample(models, images, torch.cat([normal(derive_seed(seed, "posterior")) for seed in SEEDS]))
    level = float(levels(1500)[-1])
    start = level**0.5 * clean + (1 - level) ** 0.5 * torch.cat([normal(seed) for seed in SEEDS])
    latents, probability = sampled(models, weights, start, prompts()[0], STEPS, 8.0, HEADS, GROUPS)
    pictures, _ = decoded(models, latents)
    return (pictures.clamp(-1, 1) + 1).permute(0, 2, 3, 1) * 127.5, probability[:, 0]


@pytest.fixture(scope="module")
def pipe(parity_run):
    return SeaSPipeline.from_pretrained(parity_run)


@pytest.fixture(scope="module")
def together(pipe):
    """Two images in one batch."""
    return pipe("crack", num_images=2, seeds=SEEDS, reference_indices=[0, 2])


def test_images_and_masks(pipe, together):
    assert not together.refused
    pictures, probability = transcribed(pipe, [0, 2])
    for row in range(2):
        difference = np.abs(together.images[row].astype(float) - pictures[row].numpy())
        assert difference.max() < 0.51, row  # rounded to whole numbers
        mask, values = together.masks[row], probability[row].numpy()
        sure = np.abs(values - pipe.sampling.mask_threshold) > 1e-3
        assert sure.mean() > 0.95
        assert ((values > pipe.sampling.mask_threshold) == mask)[sure].all(), row
        assert 0.02 < mask.mean() < 0.98


def test_a_mask_depends_on_batch_mates_and_its_image_does_not(pipe, together):
    """As there; a batch of one has statistics of its own."""
    alone = pipe("crack", num_images=1, seeds=SEEDS[:1], reference_indices=[0])
    assert np.abs(alone.images[0].astype(int) - together.images[0]).max() <= 1
    assert (alone.masks[0] != together.masks[0]).mean() > 0.01


def test_empty_masks_are_refused_and_not_drawn_again(parity_run):
    """Another draw in its place would change the statistics of all others."""
    pipe = SeaSPipeline.from_pretrained(parity_run)
    settings = {"mask_threshold": 1.0, "max_retries": 8, "num_inference_steps": 3}
    pipe.register_to_config(sampling={**pipe.config.sampling, **settings})
    drawn = pipe("crack", num_images=2, seed=5)
    assert not drawn.images
    assert [refusal.seed for refusal in drawn.refused] == [5, 6]
    assert all(refusal.reasons == ("empty mask",) for refusal in drawn.refused)


@pytest.mark.parametrize("official", [False, True])
def test_the_solver_ends_at_the_least_noise_only_if_official(official):
    from diffusers import DDPMScheduler

    from seas_aug.draw.sample import solver

    made = solver(DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"), official)
    made.set_timesteps(25)
    last = float(((1 - levels()[0]) / levels()[0]) ** 0.5)
    assert float(made.sigmas[-1]) == pytest.approx(last if official else 0.0, rel=1e-4)
