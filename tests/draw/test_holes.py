# SPDX-License-Identifier: Apache-2.0
"""Where in a window something is drawn."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from seas_aug.config import SamplingConfig
from seas_aug.draw.holes import normal_patches
from seas_aug.draw.sample import SamplerSettings, draw_windows, solver
from seas_aug.latents.codec import encode_latents
from tests.tiny_base import tiny_dc_vae
from tests.tiny_models import tiny_text_encoder, tiny_tokenizer


@pytest.mark.parametrize("size", [32, 128, 200])
def test_half_of_the_window_in_few_patches(size):
    for seed in range(5):
        patches = normal_patches(seed, size)
        assert patches.shape == (size, size)
        assert set(np.unique(patches)) == {0, 1}
        assert patches.mean() == pytest.approx(0.5, abs=0.02)
        edges = (np.diff(patches.astype(int), axis=0) != 0).sum()
        assert edges < 10 * size  # a chequered pattern has size squared
        assert np.array_equal(patches, normal_patches(seed, size))
    assert not np.array_equal(normal_patches(0, size), normal_patches(1, size))


class Oracle(torch.nn.Module):
    """A U-Net of the inpainting layout that knows what is to be drawn, and the velocity that leads there."""

    def __init__(self, clean, scheduler):
        super().__init__()
        self.clean, self.levels = clean, scheduler.alphas_cumprod
        self.config = SimpleNamespace(in_channels=9, out_channels=4, class_embed_type=None)
        self.device, self.dtype, self.seen = torch.device("cpu"), torch.float32, []

    def forward(self, inputs, timestep, context, class_labels=None):
        self.seen.append(inputs[:, 4:])
        level = self.levels[int(timestep)]
        noise = (inputs[:, :4] - level.sqrt() * self.clean) / (1 - level).sqrt()
        return SimpleNamespace(sample=level.sqrt() * noise - (1 - level).sqrt() * self.clean)


@pytest.mark.parametrize("reference", ["seen", "hidden"])
def test_the_solver_follows_a_velocity_to_what_is_to_be_drawn(reference):
    generator = torch.Generator().manual_seed(0)
    tokenizer, vae = tiny_tokenizer(), tiny_dc_vae()
    base = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction"
    )
    clean = torch.randn(1, 4, 8, 8, generator=generator)
    unet = Oracle(clean, base)
    pipe = SimpleNamespace(
        unet=unet, vae=vae, tokenizer=tokenizer, text_encoder=tiny_text_encoder(tokenizer), scheduler=solver(base)
    )
    pictures = (torch.rand(1, 3, 32, 32, generator=generator) * 255).to(torch.uint8)
    shapes = torch.zeros(1, 1, 32, 32)
    shapes[..., 12:16, 8:20] = 1
    settings = SamplerSettings(SamplingConfig(guidance_scale=1.0, hole_reference=reference), 1.0)
    with torch.no_grad():
        latents, _ = draw_windows(pipe, pictures, [5], "a", False, settings, shapes)
        own = encode_latents(vae, pictures.float() / 127.5 - 1)
    hole = unet.seen[0][0, 0] > 0
    assert (int(hole.sum()), len(unet.seen)) == (7 * 5, 20)  # 3 x 1 cells and a margin of 2
    torch.testing.assert_close(latents[..., hole], clean[..., hole], rtol=0, atol=0.02)
    assert torch.equal(latents[..., ~hole], own[..., ~hole])
    shown = unet.seen[0][0, 1:]
    assert torch.equal(shown[:, ~hole], own[0][:, ~hole])
    assert torch.equal(shown[:, hole], own[0][:, hole]) == (reference == "seen")
