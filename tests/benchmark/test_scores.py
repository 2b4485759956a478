# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from seas_aug.benchmark.scores import (
    auroc,
    average_precision,
    best_bin,
    best_iou_per_image,
    f1_max,
    iou_at,
    make_histograms,
)


def _case(seed: int, levels: int = 0, images: int = 3, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = rng.random((images, side, side)) < 0.2
    masks[0] = False
    masks[1, 0, 0], masks[1, 0, 1] = True, False
    scores = rng.random(masks.shape) + 0.5 * masks
    return (np.round(scores * levels) if levels else scores), masks


@pytest.mark.parametrize("levels", [0, 5])
def test_against_torchmetrics(levels: int) -> None:
    scores, masks = _case(0, levels)
    found = make_histograms(scores, masks, bins=5000)
    positives, negatives = found.positives.sum(0), found.negatives.sum(0)
    flat, target = torch.from_numpy((scores / 10).ravel()), torch.from_numpy(masks.ravel()).int()
    assert auroc(positives, negatives) == pytest.approx(float(binary_auroc(flat, target)), abs=1e-6)
    assert average_precision(positives, negatives) == pytest.approx(
        float(binary_average_precision(flat, target)), abs=1e-6
    )


def test_few_bins_are_near_enough() -> None:
    scores, masks = _case(1, images=40, side=64)
    found = make_histograms(scores, masks)
    assert len(found.edges) <= 1027
    positives, negatives = found.positives.sum(0), found.negatives.sum(0)
    flat, target = torch.from_numpy(scores.ravel()), torch.from_numpy(masks.ravel()).int()
    assert average_precision(positives, negatives) == pytest.approx(
        float(binary_average_precision(flat, target)), abs=1e-3
    )
    assert auroc(positives, negatives) == pytest.approx(float(binary_auroc(flat, target)), abs=1e-3)


def _slow_overlaps(scores: np.ndarray, mask: np.ndarray) -> dict[float, float]:
    result = {}
    for threshold in np.unique(scores):
        found = scores >= threshold
        result[float(threshold)] = float((found & mask).sum() / (found | mask).sum())
    return result


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.sampled_from([0, 2, 7]))
def test_overlaps_against_every_threshold(seed: int, levels: int) -> None:
    scores, masks = _case(seed, levels)
    found = make_histograms(scores, masks, bins=5000)
    positives, negatives = found.positives.sum(0), found.negatives.sum(0)
    slow = _slow_overlaps(scores, masks)
    best = best_bin(positives, negatives)
    assert iou_at(positives, negatives, best) == pytest.approx(max(slow.values()))
    assert slow[float(found.edges[best])] == pytest.approx(max(slow.values()))
    assert f1_max(positives, negatives) == pytest.approx(max(2 * v / (1 + v) for v in slow.values()))
    each = best_iou_per_image(found)
    assert np.isnan(each[0])  # no defect in it
    for image in range(1, len(masks)):
        if masks[image].any():
            assert each[image] == pytest.approx(max(_slow_overlaps(scores[image], masks[image]).values()))


def test_counts_are_complete() -> None:
    scores, masks = _case(3)
    found = make_histograms(scores, masks, bins=8)
    assert (found.positives.sum(1) == masks.sum((1, 2))).all()
    assert (found.negatives.sum(1) == (~masks).sum((1, 2))).all()
    coarse = found.coarser(3)
    assert (coarse.positives.sum(1) == masks.sum((1, 2))).all()
    assert (coarse.edges == found.edges[::3]).all()
    assert (coarse.negatives[:, 1] == found.negatives[:, 3:6].sum(1)).all()


def test_mistakes() -> None:
    scores, masks = _case(4)
    with pytest.raises(ValueError, match="same shape"):
        make_histograms(scores[:1], masks)
    with pytest.raises(ValueError, match="not finite"):
        make_histograms(np.where(masks, np.nan, scores), masks)
    with pytest.raises(ValueError, match="need both"):
        make_histograms(scores, np.zeros_like(masks))
    none = np.zeros(4)
    assert np.isnan(average_precision(none, none + 1)) and np.isnan(auroc(none, none + 1))
