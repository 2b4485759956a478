# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.mask_exact import edge_normals, edge_profile, mask_exact
from seas_aug.evaluate.window_difference import signed_distances
from tests.evaluate.drawing_windows import boxes, filled, texture

GROUPS = [str(row) for row in range(30)]


def scene():
    masks = boxes(30, 3, 64, 14, 24)
    return masks, texture(30, 1, 64), texture(30, 2, 64)


def test_profile_is_the_mean_over_the_band():
    masks, one, other = scene()
    change = np.abs(one.astype(float) - other).mean(-1)
    distances = signed_distances(masks)
    for row in range(3):
        band = (distances[row] >= 1.5) & (distances[row] <= 2.5)
        found = edge_profile(change, distances, 2)[row]
        assert found == pytest.approx(change[row][band].mean())


def test_normals_point_away_from_the_mask():
    mask = np.zeros((1, 21, 21), np.uint8)
    mask[0, 7:14, 7:14] = 1
    down, right = edge_normals(mask)[:, 0]
    assert down[4, 10] == pytest.approx(-1, abs=0.05) and down[17, 10] == pytest.approx(1, abs=0.05)
    assert right[10, 4] == pytest.approx(-1, abs=0.05) and right[10, 17] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("down", "right"), [(8, 0), (-8, 0), (0, 8), (6, -6)])
def test_a_mask_beside_its_defect_leaks_and_an_exact_one_does_not(down, right):
    masks, null, other = scene()
    drawn = filled(null, masks, 20)
    exact = mask_exact(drawn, null, other, masks, GROUPS)
    assert exact.value < 0.1 and exact.extra["inside"]["low"] > 0
    beside = mask_exact(drawn, null, other, np.roll(masks, (down, right), (1, 2)), GROUPS)
    assert beside.value is None or beside.value > 0.7


def test_a_smear_of_three_pixels_leaks():
    import cv2

    masks, null, other = scene()
    wide = np.stack([cv2.dilate(mask, np.ones((9, 9), np.uint8)) for mask in masks])
    assert mask_exact(filled(null, wide, 20), null, other, masks, GROUPS).value > 0.8


def test_nothing_drawn_and_thin_masks_have_no_figure():
    masks, null, other = scene()
    assert "nothing changes" in mask_exact(texture(30, 4, 64), null, other, masks, GROUPS).reason
    thin = np.zeros_like(masks)
    thin[:, 30, 10:50] = 1
    assert "wide enough" in mask_exact(null, null, other, thin, GROUPS).reason
