# SPDX-License-Identifier: Apache-2.0
"""Latents of mean 0 and deviation 1, written into an autoencoder's weights."""

from __future__ import annotations

import copy

import torch

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.normalise import normalise_latents
from seas_aug.latents.codec import decode_latents, encode_latents


@torch.no_grad()
def test_latents_are_scaled_and_pictures_stay():
    vae = load_base("embedded").vae.eval()
    changed = copy.deepcopy(vae)
    mean, deviation = torch.linspace(-0.5, 0.4, 8), torch.linspace(0.3, 1.8, 8)
    normalise_latents(changed, mean, deviation)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = encode_latents(vae, image)
    scaled = encode_latents(changed, image)
    expected = (latents - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)
    before, after = decode_latents(vae, latents), decode_latents(changed, scaled)
    # The constant part is a little off where the decoder pads with zeros.
    inner = slice(16, -16)
    torch.testing.assert_close(after[..., inner, inner], before[..., inner, inner], rtol=1e-3, atol=1e-3)
    assert float((after - before).abs().mean()) < 0.05


@torch.no_grad()
def test_without_a_mean_pictures_stay_up_to_the_border():
    vae = load_base("embedded").vae.eval()
    changed = copy.deepcopy(vae)
    normalise_latents(changed, torch.zeros(8), torch.linspace(0.3, 1.8, 8))
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    before = decode_latents(vae, encode_latents(vae, image))
    torch.testing.assert_close(decode_latents(changed, encode_latents(changed, image)), before, rtol=1e-3, atol=1e-3)
