# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.window_difference import grown, mean_inside, signed_distances, smoothed_difference
from tests.evaluate.drawing_windows import boxes, texture


def test_difference_is_that_of_averaged_neighbourhoods():
    one, other = texture(1, 1, 7), texture(1, 2, 7)
    found = smoothed_difference(one, other)[0]
    padded = [np.pad(image[0].astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge") for image in (one, other)]
    for row in range(7):
        for column in range(7):
            means = [image[row : row + 3, column : column + 3].mean((0, 1)) for image in padded]
            assert found[row, column] == pytest.approx(np.abs(means[0] - means[1]).mean(), abs=1e-3)


def test_mean_inside_counts_marked_pixels_and_has_none_for_an_empty_mask():
    masks = boxes(2)
    masks[1] = 0
    values = np.random.default_rng(0).random(masks.shape)
    found = mean_inside(values, masks)
    assert found[0] == pytest.approx(values[0][masks[0] > 0].mean())
    assert np.isnan(found[1])


def test_distances_change_their_sign_at_the_edge():
    mask = np.zeros((1, 11, 11), np.uint8)
    mask[0, 3:8, 3:8] = 1
    row = signed_distances(mask)[0, 5]
    assert row == pytest.approx([3, 2, 1, -1, -2, -3, -2, -1, 1, 2, 3], abs=0.01)


def test_grown_masks_reach_further():
    mask = np.zeros((1, 9, 9), np.uint8)
    mask[0, 4, 4] = 1
    assert np.flatnonzero(grown(mask, 2)[0, 4]).tolist() == [2, 3, 4, 5, 6]
