# SPDX-License-Identifier: Apache-2.0
"""The start of the autoencoder's pretraining is principal component analysis of 4 x 4 patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seas_aug.base.pretrain import linear_start
from seas_aug.base.pretrain.architecture import LATENT_CHANNELS, build_autoencoder
from seas_aug.base.pretrain.linear_start import patch_basis, write_linear_code
from seas_aug.base.renderer.scene import render_scene


@pytest.fixture(scope="module")
def pictures():
    return np.stack([render_scene(seed, 64).image for seed in range(6)])


@pytest.fixture(scope="module")
def code(pictures):
    return patch_basis(pictures, LATENT_CHANNELS, patches=4000)


def reference(images, basis, reach):
    """Project every patch by loops over rows and columns, and put it together again."""
    count, _, height, width = images.shape
    latents = torch.zeros(count, len(basis), height // 4, width // 4)
    decoded = torch.zeros_like(images)
    flat = basis.reshape(len(basis), -1)
    for row in range(height // 4):
        for column in range(width // 4):
            patch = images[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(count, -1)
            coefficients = patch @ flat.T
            latents[:, :, row, column] = coefficients / reach.sqrt()
            decoded[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = (coefficients @ flat).reshape(
                count, 3, 4, 4
            )
    return latents, decoded


def to_tensor(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def start(code):
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    write_linear_code(vae, *code)
    return vae


@torch.no_grad()
def test_code_is_exact_without_the_random_rest(code, pictures, monkeypatch):
    """What is kept of the random weights is only there to be trained; without it the code is PCA to the last digits."""
    monkeypatch.setattr(linear_start, "_RESIDUAL_GAIN", 0.0)
    vae, images = start(code), to_tensor(pictures)
    latents, decoded = reference(images, *code)
    torch.testing.assert_close(vae.encode(images).latent, latents, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(vae.decode(latents).sample, decoded, atol=0.02, rtol=0)


@torch.no_grad()
def test_code_with_the_random_rest(code, pictures):
    vae, images = start(code), to_tensor(pictures)
    latents, decoded = reference(images, *code)
    found = vae.encode(images).latent
    assert (found - latents).std() < 0.1 * latents.std()
    assert (vae.decode(found).sample - decoded).std() < 0.1 * images.std()
    with torch.enable_grad():
        vae.decode(vae.encode(images[:1]).latent).sample.sum().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in vae.parameters())


def test_basis_is_that_of_numpy(pictures):
    """Singular values of the same patches, without subtracting a mean."""
    basis, reach = patch_basis(pictures, 5, patches=3000, seed=2)
    flat = basis.reshape(5, -1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(5), atol=1e-5, rtol=0)
    rng = np.random.default_rng(2)
    index = rng.integers(0, len(pictures), 3000)
    rows, columns = rng.integers(0, 60, 3000), rng.integers(0, 60, 3000)
    patches = np.stack(
        [
            pictures[i, r : r + 4, c : c + 4].transpose(2, 0, 1).ravel()
            for i, r, c in zip(index, rows, columns, strict=True)
        ]
    )
    _, values, vectors = np.linalg.svd(patches / 127.5 - 1, full_matrices=False)
    np.testing.assert_allclose(reach.numpy(), values[:5] / np.sqrt(3000), rtol=1e-4)
    np.testing.assert_allclose(np.abs(vectors[:5] @ flat.numpy().T), np.eye(5), atol=1e-3)
