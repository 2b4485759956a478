# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.window_set import WindowSet, pick
from tests.evaluate.drawing_windows import window_set


def test_windows_are_taken_by_index_mask_and_type():
    windows = window_set(6)
    assert np.array_equal(windows.take([4, 1]).images, windows.images[[4, 1]])
    chosen = np.asarray([True, False] * 3)
    assert windows.take(chosen).types == windows.of_type("crack").types == ["crack"] * 3
    assert windows.anomaly_types == ("crack", "hole")
    assert pick(["a", "b", "c"], np.asarray([2, 0])) == ["c", "a"]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: WindowSet(w.images.astype(float), w.masks, w.types, w.groups),
        lambda w: WindowSet(w.images, w.masks[:, 1:], w.types, w.groups),
        lambda w: WindowSet(w.images, w.masks, w.types[1:], w.groups),
        lambda w: WindowSet(w.images[..., 0], w.masks, w.types, w.groups),
    ],
)
def test_what_does_not_fit_together_is_refused(change):
    with pytest.raises(ValueError, match=r"images|masks|types"):
        change(window_set(4))
