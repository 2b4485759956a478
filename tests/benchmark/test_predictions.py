# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.benchmark.predictions import Predictions, evaluate, halves


def _make() -> Predictions:
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 16, 16), bool)
    masks[:4, 4:8, 4:10] = True
    maps = (rng.random(masks.shape) * 0.4 + 0.5 * masks).astype(np.float32)
    return Predictions(maps, masks, maps.max((1, 2)), tuple("abcdef"), tuple("aabbcc"))


def test_perfect() -> None:
    metrics, _, _ = evaluate(_make())
    assert metrics["pixel_iou"] == pytest.approx(1.0, abs=0.05)  # the other half's lowest defect pixel is the threshold
    for name in ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "iou_best_per_image"):
        assert metrics[name] == pytest.approx(1.0, abs=1e-6), name
    assert metrics["pixel_aupro"] == pytest.approx(1.0, abs=0.01)


def test_threshold_comes_from_the_other_half() -> None:
    # Scores of two of the four defect images are 0.3 higher, so that one half's threshold does not fit the other.
    test = _make()
    test.maps[2:4] += 0.3
    metrics, histograms, overlaps = evaluate(test)
    half = halves(test.groups, test.labels)
    found, union = 0, 0
    for own in (False, True):
        mine, other = half == own, half != own
        best, threshold = -1.0, 0.0
        for edge in histograms.edges:
            reached = test.maps[other] >= edge
            iou = (reached & test.masks[other]).sum() / (reached | test.masks[other]).sum()
            if iou > best:
                best, threshold = iou, float(edge)
        reached = test.maps[mine] >= threshold
        found += (reached & test.masks[mine]).sum()
        union += (reached | test.masks[mine]).sum()
    assert metrics["pixel_iou"] == pytest.approx(found / union)
    assert metrics["pixel_iou"] < 0.9 and metrics["iou_best_per_image"] == pytest.approx(1.0)
    twice = np.array([[2, 0, 1, 0, 0, 0]])
    kept = overlaps.found[[0, 0, 2]].sum() / (overlaps.size + overlaps.wrong)[[0, 0, 2]].sum()
    assert overlaps.iou(twice)[0] == pytest.approx(kept)


def test_a_network_that_says_the_same_everywhere() -> None:
    test = _make()
    test.maps[:] = 0.5
    metrics, _, _ = evaluate(test)
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["pixel_iou"] == pytest.approx(test.masks.mean())


def test_halves_keep_groups_and_share_defects() -> None:
    groups, labels = list("aabbccdd"), np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    half = halves(groups, labels)
    assert all(len({bool(half[i]) for i, name in enumerate(groups) if name == group}) == 1 for group in "abcd")
    assert half[labels].any() and not half[labels].all()
    one_group = halves(list("aaaa"), np.array([1, 1, 0, 0], bool))
    assert one_group[:2].sum() == 1


def test_a_single_defect_that_is_found_counts_as_found() -> None:
    masks = np.zeros((5, 8, 8), bool)
    masks[3, 2:4, 2:5] = True
    names = tuple("abcde")
    test = Predictions(masks.astype(np.float32), masks, masks.max((1, 2)).astype(float), names, names)
    assert evaluate(test)[0]["pixel_iou"] == 1.0
