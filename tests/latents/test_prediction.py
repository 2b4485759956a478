# SPDX-License-Identifier: Apache-2.0
"""One call for every layout of U-Net, and what it has to predict."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from seas_aug.errors import SeasError
from seas_aug.latents.hole import make_hole
from seas_aug.latents.prediction import is_inpainting, latent_channels, predict, prediction_target
from seas_aug.prompt.embedding import PromptEmbeddings
from tests.tiny_base import with_holes
from tests.tiny_models import TEXT_WIDTH, tiny_unet


def prompts(count):
    generator = torch.Generator().manual_seed(3)
    context = torch.randn(count, 5, TEXT_WIDTH, generator=generator)
    return PromptEmbeddings(context, context[:, 0], torch.zeros(count, 5, dtype=torch.long))


def hole(seen):
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 3:9, 4:6] = 1
    return make_hole(mask, torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5)), torch.zeros(1), seen)


@torch.no_grad()
def test_text_to_image_models_are_called_as_ever():
    unet, noisy, time = tiny_unet(), torch.randn(2, 4, 16, 16), torch.tensor(7)
    assert not is_inpainting(unet)
    assert latent_channels(unet) == 4
    expected = unet(noisy, time, prompts(2).context).sample
    assert torch.equal(predict(unet, noisy, time, prompts(2)), expected)
    assert torch.equal(predict(unet, noisy, time, prompts(2), hole(True)), expected)


@torch.no_grad()
def test_inpainting_models_read_noise_mask_and_reference_in_the_order_of_stable_diffusion():
    unet, noisy, time = with_holes(tiny_unet()), torch.randn(2, 4, 16, 16), torch.tensor(7)
    assert is_inpainting(unet)
    given = hole(False)
    inputs = torch.cat([noisy, given.mask, given.reference], dim=1)
    assert inputs.shape[1] == 9
    expected = unet(inputs, time, prompts(2).context).sample
    assert torch.equal(predict(unet, noisy, time, prompts(2), given), expected)
    with pytest.raises(ValueError, match="needs a hole"):
        predict(unet, noisy, time, prompts(2))


@torch.no_grad()
def test_the_pooled_prompt_reaches_a_model_that_takes_it():
    unet, noisy = with_holes(tiny_unet(), pooled=True), torch.randn(2, 4, 16, 16)
    own, other = prompts(2), prompts(2)._replace(pooled=prompts(2).pooled + 1)
    first, second = (predict(unet, noisy, torch.tensor(7), one, hole(True)) for one in (own, other))
    assert not torch.equal(first, second)


def test_other_layouts_are_refused():
    unet = tiny_unet()
    wide = type(unet).from_config(unet.config, in_channels=6)
    with pytest.raises(SeasError, match="reads 6 channels and predicts 4"):
        is_inpainting(wide)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_targets_are_those_of_diffusers(kind):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)
    clean, noise, time = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999])
    expected = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, time)
    torch.testing.assert_close(prediction_target(scheduler, clean, noise, time), expected)
