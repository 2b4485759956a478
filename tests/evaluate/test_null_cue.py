# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from seas_aug.evaluate.null_cue import null_cue
from tests.evaluate.drawing_windows import boxes, texture

GROUPS = [str(row) for row in range(12)]


def test_a_hole_that_was_smoothed_is_found_and_an_untouched_one_is_not():
    train, test = texture(24, 1, 48), texture(12, 2, 48)
    holes, others = boxes(24, 1, 48), boxes(12, 2, 48)

    def smoothed(images, masks):
        blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in images])
        return np.where(masks[..., None] > 0, blurred, images)

    found = null_cue((smoothed(train, holes), train), holes, (smoothed(test, others), test), others, GROUPS, updates=60)
    assert found.value > 0.9
    untouched = null_cue((train, train), holes, (test, test), others, GROUPS, updates=20)
    assert untouched.value == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_gives_the_same_figure():
    images, holes = texture(8, 1), boxes(8, 1)
    runs = [
        null_cue((images, images[::-1]), holes, (images, images[::-1]), holes, GROUPS[:8], seed=3, updates=5).value
        for _ in range(2)
    ]
    assert runs[0] == pytest.approx(runs[1], abs=1e-6)
    assert null_cue((images[:1], images[:1]), holes[:1], (images, images), holes, GROUPS[:8]).reason
