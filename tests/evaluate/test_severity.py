# SPDX-License-Identifier: Apache-2.0
import numpy as np

from seas_aug.evaluate.severity import SEVERITIES, severity
from tests.evaluate.drawing_windows import filled, texture, window_set


def test_what_rises_passes_and_what_is_constant_or_falls_does_not():
    windows = window_set(12)
    other = texture(12, 5)
    rising = [filled(windows.images, windows.masks, 120 - 80 * share) for share in SEVERITIES]
    described = windows.masks, windows.types, windows.groups
    assert severity(rising, other, *described).value == 1
    assert severity([rising[0]] * 4, other, *described).value == 0
    assert severity(rising[::-1], other, *described).value == 0


def test_one_step_that_falls_fails_a_seed():
    windows = window_set(12)
    rising = [filled(windows.images, windows.masks, 120 - 80 * share) for share in SEVERITIES]
    rising[2] = rising[2].copy()
    rising[2][3] = rising[0][3]
    found = severity(rising, texture(12, 5), windows.masks, windows.types, windows.groups)
    assert found.value == 11 / 12
    assert np.all(np.diff(found.extra["mean_difference"]) > 0)
    assert severity(rising[:1], texture(12, 5), windows.masks, windows.types, windows.groups).reason
