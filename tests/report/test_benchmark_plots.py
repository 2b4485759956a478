# SPDX-License-Identifier: Apache-2.0
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.predictions import Overlaps
from seas_aug.benchmark.scores import make_histograms
from seas_aug.report.benchmark_plots import draw_gains, precision_recall, widest


def _gain(category: str, mean: float, networks: tuple[str, ...] = ("net",), baseline: str = "perlin") -> dict[str, Any]:
    known = {"task": "detection", "baseline": baseline, "category": category, "networks": list(networks)}
    return {**known, "metric": "pixel_ap", "mean": mean, "low": mean - 2.0, "high": mean + 3.0}


def test_the_gain_over_all_networks_is_drawn_and_a_single_one_where_it_is_all() -> None:
    both = _gain("nut", 3.0, ("unet", "fpn"))
    gains = [both, _gain("nut", 5.0, ("unet",)), _gain("nut", 1.0, ("fpn",)), _gain("tile", 4.0)]
    assert widest(gains) == [both, _gain("tile", 4.0)]


def test_gains_are_drawn_at_their_place_with_their_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    whole = Axes.errorbar

    def errorbar(self: Axes, x: Any, y: Any, **options: Any) -> Any:
        drawn.append((x.tolist(), list(y), options["xerr"].tolist(), options["label"]))
        return whole(self, x, y, **options)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    gains = [_gain("all", 1.0), _gain("tile", 5.0), _gain("nut", -4.0), _gain("tile", 6.0, baseline="cutpaste")]
    picture = cv2.imdecode(np.frombuffer(draw_gains(gains), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.std() > 10
    # The mean is last; of two opponents one lies above the other.
    assert drawn == [
        ([1.0, 5.0, -4.0], pytest.approx([1.85, -0.15, 0.85]), [[2.0] * 3, [3.0] * 3], "over perlin"),
        ([6.0], pytest.approx([0.15]), [[2.0], [3.0]], "over cutpaste"),
    ]


def test_curve_by_hand() -> None:
    scores = np.array([[[0.1, 0.2, 0.3, 0.4]]])
    masks = np.array([[[False, True, False, True]]])
    names = np.array(["a"])
    overlaps = Overlaps(np.array([1]), np.array([0]), np.array([2]))
    kept = CellScores(make_histograms(scores, masks, 100), overlaps, np.array([0.4]), np.array([True]), names, names)
    precision, recall = precision_recall(kept)
    assert precision.tolist()[:4] == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert recall.tolist()[:4] == pytest.approx([1 / 2, 1 / 2, 1, 1])
