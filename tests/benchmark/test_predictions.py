# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.benchmark.predictions import Predictions, evaluate


def _make(shift: float = 0.0) -> Predictions:
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 16, 16), bool)
    masks[:4, 4:8, 4:10] = True
    maps = (rng.random(masks.shape) * 0.4 + 0.5 * masks + shift).astype(np.float32)
    return Predictions(maps, masks, maps.max((1, 2)), tuple("abcdef"), tuple("aabbcc"))


def test_perfect_and_by_hand() -> None:
    test = _make()
    metrics, _ = evaluate(test, test)
    for name in ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pixel_iou", "iou_best_per_image"):
        assert metrics[name] == pytest.approx(1.0, abs=1e-6), name
    assert metrics["pixel_aupro"] == pytest.approx(1.0, abs=0.01)
    assert 0.4 <= metrics["threshold"] <= 0.55


def test_threshold_comes_from_validation_alone() -> None:
    # Maps of the validation images are 0.3 higher: their best threshold finds only some of the test set's pixels.
    test, validation = _make(), _make(0.3)
    metrics, _ = evaluate(test, validation)
    found = test.maps >= metrics["threshold"]
    assert metrics["pixel_iou"] == pytest.approx((found & test.masks).sum() / (found | test.masks).sum(), abs=0.02)
    assert metrics["pixel_iou"] < 0.9 and metrics["iou_best_per_image"] == pytest.approx(1.0)
