# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.mask_shapes import log_area, log_elongation, mask_shapes
from tests.evaluate.drawing_windows import boxes


def described(masks, seed):
    return masks, ["a"] * len(masks), [f"{seed}-{row}" for row in range(len(masks))]


def test_area_and_elongation_of_rectangles():
    masks = np.zeros((3, 40, 40), np.uint8)
    masks[0, 5:15, 5:15] = masks[1, 5:15, 3:33] = masks[2, 5, 5:35] = 1
    assert np.exp(log_area(masks)) == pytest.approx([100, 300, 30])
    assert np.exp(log_elongation(masks)) == pytest.approx([1, 3, 30], rel=0.05)


def test_one_blob_is_too_uniform_and_the_same_kind_of_masks_is_not():
    real = described(boxes(80, 0, 64, 6, 30), 0)
    same = mask_shapes(*described(boxes(80, 1, 64, 6, 30), 1), *real)
    assert 0.7 <= same.value <= 1.4
    blob = mask_shapes(*described(np.repeat(boxes(1), 40, 0), 2), *real)
    assert blob.value == 0
    assert mask_shapes(*described(boxes(2), 3), *real).reason


def test_ratio_is_that_of_standard_deviations():
    one, other = boxes(40, 1, 64, 6, 30), boxes(60, 2, 64, 6, 30)
    found = mask_shapes(*described(one, 1), *described(other, 2))
    assert found.by_type["a"]["area"] == pytest.approx(log_area(one).std() / log_area(other).std())
    assert found.extra["area"]["value"] == pytest.approx(found.by_type["a"]["area"])
