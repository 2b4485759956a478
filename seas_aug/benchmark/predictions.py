# SPDX-License-Identifier: Apache-2.0
"""What a network said about the test images, and the figures that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.benchmark.scores import (
    ScoreHistograms,
    auroc,
    average_precision,
    best_bin,
    best_iou_per_image,
    f1_max,
    iou_at,
    make_histograms,
)


@dataclass(frozen=True)
class Predictions:
    """Anomaly maps of images whose truth is known.

    Args:
        maps: float32 ``[N, H, W]``; higher is more anomalous.
        masks: bool ``[N, H, W]``.
        scores: one score per image, float ``[N]``.
        names: path of each image, relative to its category.
        groups: group of each image.
    """

    maps: NDArray[np.float32]
    masks: NDArray[np.bool_]
    scores: NDArray[Any]
    names: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Which images show a defect, bool ``[N]``."""
        return np.asarray(self.masks.any(axis=(1, 2)))


def evaluate(test: Predictions, validation: Predictions) -> tuple[dict[str, float], ScoreHistograms]:
    """Return the metrics of a network, and the histograms for intervals.

    Args:
        test: of the test images.
        validation: of other images, on which the threshold for ``pixel_iou`` is chosen.

    Returns:
        ``image_auroc``, ``image_ap``, ``image_f1_max``; ``pixel_auroc``, ``pixel_ap``, ``pixel_f1_max``,
        ``pixel_aupro`` (false positive rate up to 0.3); ``pixel_iou`` over all pixels at the threshold that is best on
        the validation images, ``threshold``; ``iou_best_per_image``, the paper's: mean over defect images of the best
        over all thresholds, which no user could set.

    Raises:
        ValueError: see :func:`~seas_aug.benchmark.scores.make_histograms`.
    """
    histograms = make_histograms(test.maps, test.masks)
    pixels = histograms.positives.sum(0), histograms.negatives.sum(0)
    images = make_histograms(test.scores[:, None, None], test.labels[:, None, None], bins=2 * len(test.scores))
    whole = images.positives.sum(0), images.negatives.sum(0)
    chosen = make_histograms(validation.maps, validation.masks)
    threshold = float(chosen.edges[best_bin(chosen.positives.sum(0), chosen.negatives.sum(0))])
    metrics: dict[str, Any] = {
        "image_auroc": auroc(*whole),
        "image_ap": average_precision(*whole),
        "image_f1_max": f1_max(*whole),
        "pixel_auroc": auroc(*pixels),
        "pixel_ap": average_precision(*pixels),
        "pixel_f1_max": f1_max(*pixels),
        "pixel_aupro": aupro(test),
        "pixel_iou": iou_at(*pixels, first_bin(histograms, threshold)),
        "threshold": threshold,
        "iou_best_per_image": np.nanmean(best_iou_per_image(histograms)),
    }
    return {name: float(value) for name, value in metrics.items()}, histograms


def first_bin(histograms: ScoreHistograms, threshold: float) -> int:
    """Return the first bin whose scores all reach a threshold; the last one if none does."""
    return min(int(np.searchsorted(histograms.edges, threshold, side="left")), len(histograms.edges) - 1)


def aupro(predictions: Predictions) -> float:
    """Return the area under the per-region overlap curve up to a false positive rate of 0.3, by anomalib.

    Args:
        predictions: of the test images; maps are scaled to [0, 1] together, which changes no order.
    """
    from anomalib.metrics.aupro import _AUPRO

    metric = _AUPRO()
    lowest, highest = float(predictions.maps.min()), float(predictions.maps.max())
    scaled = (predictions.maps - lowest) / max(highest - lowest, 1e-12)
    metric.update(torch.from_numpy(scaled), torch.from_numpy(predictions.masks).int())
    return float(metric.compute())
