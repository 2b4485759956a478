# SPDX-License-Identifier: Apache-2.0
import numpy as np

from seas_aug.evaluate.mask_of_nothing import mask_of_nothing
from tests.evaluate.drawing_windows import boxes


def test_a_single_pixel_is_a_find_and_the_outline_handed_through_fails():
    found = np.full((4, 8, 8), 0.4, np.float32)
    found[1, 3, 3] = 0.6
    told = mask_of_nothing(found, 0.5, ["a", "a", "b", "b"], list("wxyz"))
    assert (told.value, told.by_type) == (0.75, {"a": 0.5, "b": 1.0})
    assert told.extra["mean_area"] == 1 / 256
    holes = boxes(4).astype(np.float32)
    assert mask_of_nothing(holes, 0.5, ["a"] * 4, list("wxyz")).value == 0
    assert mask_of_nothing(found[:0], 0.5, [], []).reason
