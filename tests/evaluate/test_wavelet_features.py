# SPDX-License-Identifier: Apache-2.0
import cmath
import math

import pytest
import torch

from seas_aug.evaluate.wavelet_features import WaveletFeatures, gabor_kernels


def test_kernels_have_no_mean_and_are_local_waves() -> None:
    kernels = gabor_kernels(6)
    assert kernels.shape == (12, 1, 9, 9)
    assert kernels.sum(dim=(1, 2, 3)).abs().max() < 1e-6


def test_modulus_against_a_sum_written_out() -> None:
    torch.manual_seed(0)
    features = WaveletFeatures(scales=1, orientations=2)
    picture = torch.rand(1, 1, 13, 13)
    kernels = features.kernels
    total = 0j
    for i in range(9):
        for j in range(9):
            value = picture[0, 0, 6 - 4 + i, 6 - 4 + j].item()
            total += value * complex(kernels[1, 0, i, j].item(), kernels[3, 0, i, j].item())
    assert features._moduli(picture)[0, 0, 1, 6, 6].item() == pytest.approx(abs(total), abs=1e-5)
    assert not cmath.isnan(total)


def test_shape_and_no_dependence_on_batch_mates() -> None:
    torch.manual_seed(0)
    features = WaveletFeatures()
    images = torch.randint(0, 256, (3, 3, 64, 48), dtype=torch.uint8)
    found = features(images)
    assert found.shape == (3, features.num_features)
    assert torch.allclose(features(images[1:2]), found[1:2], atol=1e-5)


def test_constant_pictures_are_at_the_floor() -> None:
    found = WaveletFeatures()(torch.full((1, 3, 64, 64), 130, dtype=torch.uint8))
    assert found.max().item() == pytest.approx(math.log(1 / 255), abs=0.02)


def test_a_thin_line_changes_the_largest_response_more_than_the_mean() -> None:
    plain = torch.full((1, 3, 64, 64), 130, dtype=torch.uint8)
    line = plain.clone()
    line[..., 30:34, 32] = 20
    features = WaveletFeatures(scales=1, orientations=4)
    change = (features(line) - features(plain))[0]
    assert change[12].item() > 2 * change[0].item() > 0  # largest and mean of luminance, first angle


def test_no_scales() -> None:
    with pytest.raises(ValueError, match="scales is 0"):
        WaveletFeatures(scales=0)
