# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.predictions import Overlaps
from seas_aug.benchmark.scores import make_histograms
from seas_aug.report.benchmark_page import choose_images, precision_recall


def test_images_that_are_shown() -> None:
    own = np.array([np.nan, 0.9, 0.5, 0.4, 0.1, np.nan])
    other = np.array([np.nan, 0.1, 0.4, 0.8, 0.1, np.nan])
    assert choose_images(own, other) == [1, 2, 3, 4]
    assert choose_images(own[:2], other[:2]) == [1]


def test_curve_by_hand() -> None:
    scores = np.array([[[0.1, 0.2, 0.3, 0.4]]])
    masks = np.array([[[False, True, False, True]]])
    names = np.array(["a"])
    overlaps = Overlaps(np.array([1]), np.array([0]), np.array([2]))
    kept = CellScores(make_histograms(scores, masks, 100), overlaps, np.array([0.4]), np.array([True]), names, names)
    precision, recall = precision_recall(kept)
    assert precision.tolist()[:4] == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert recall.tolist()[:4] == pytest.approx([1 / 2, 1 / 2, 1, 1])
