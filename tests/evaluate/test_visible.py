# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.visible import chance_level, visible
from seas_aug.evaluate.window_difference import mean_inside, smoothed_difference
from tests.evaluate.drawing_windows import filled, texture, window_set


def test_a_dark_defect_is_visible_and_normal_texture_is_not():
    windows = window_set(60)
    null, other, third = windows.images, texture(60, 7), texture(60, 8)
    level = chance_level(null, other, windows.masks)
    assert visible(windows.with_images(filled(null, windows.masks, 60)), other, level).value == 1
    hidden = visible(windows.with_images(third), other, level)
    assert hidden.value < 0.15


def test_share_and_worst_type_are_counted_by_hand():
    windows = window_set(20)
    images = windows.images.copy()
    for row in (0, 1, 2, 5, 8):
        images[row][windows.masks[row] > 0] = 30
    found = visible(windows.with_images(images), windows.images, 1.0)
    changes = mean_inside(smoothed_difference(images, windows.images), windows.masks)
    shares = {
        name: np.mean([changes[row] > 1 for row in range(20) if windows.types[row] == name])
        for name in ("crack", "hole")
    }
    assert found.by_type == pytest.approx(shares)
    assert found.by_type == pytest.approx({"crack": 0.3, "hole": 0.2})
    assert (found.value, found.extra["worst_type"], found.n) == (pytest.approx(0.2), "hole", 20)
    assert found.low <= found.value <= found.high


def test_nothing_is_not_measured():
    assert visible(window_set(4).take([]), texture(0), 1.0).reason
