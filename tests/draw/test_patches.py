# SPDX-License-Identifier: Apache-2.0
"""Patches of a normal window that are drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from seas_aug.draw.patches import normal_patches


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
