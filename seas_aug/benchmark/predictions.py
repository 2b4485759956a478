# SPDX-License-Identifier: Apache-2.0
"""What a network said about the test images, and the figures that follow."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Overlaps:
    """Pixels found of each image, at a threshold that was chosen on other images.

    Args:
        found: defect pixels that are found, int64 ``[N]``.
        wrong: other pixels that are found, int64 ``[N]``.
        size: defect pixels, int64 ``[N]``.
    """

    found: NDArray[np.int64]
    wrong: NDArray[np.int64]
    size: NDArray[np.int64]

    def iou(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the intersection over union over all pixels, for image weights ``[draws, N]``."""
        union = (weights @ (self.size + self.wrong)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ self.found) / union)


def evaluate(test: Predictions) -> tuple[dict[str, float], ScoreHistograms, Overlaps]:
    """Return the metrics of a network, and what intervals need.

    Args:
        test: of the test images.

    Returns:
        ``image_auroc``, ``image_ap``, ``image_f1_max``; ``pixel_auroc``, ``pixel_ap``, ``pixel_f1_max``,
        ``pixel_aupro`` (false positive rate up to 0.3); ``pixel_iou`` over all pixels, each half of the images at the
        one threshold that is best on the other half; ``iou_best_per_image``, the paper's: mean over defect images of
        the best over all thresholds, which no user could set. Then the histograms, and the overlaps behind
        ``pixel_iou``.

    Raises:
        ValueError: see :func:`~seas_aug.benchmark.scores.make_histograms`.
    """
    histograms = make_histograms(test.maps, test.masks)
    pixels = histograms.positives.sum(0), histograms.negatives.sum(0)
    images = make_histograms(test.scores[:, None, None], test.labels[:, None, None], bins=2 * len(test.scores))
    whole = images.positives.sum(0), images.negatives.sum(0)
    overlaps = cross_fitted(test, histograms)
    metrics: dict[str, Any] = {
        "image_auroc": auroc(*whole),
        "image_ap": average_precision(*whole),
        "image_f1_max": f1_max(*whole),
        "pixel_auroc": auroc(*pixels),
        "pixel_ap": average_precision(*pixels),
        "pixel_f1_max": f1_max(*pixels),
        "pixel_aupro": aupro(test),
        "pixel_iou": overlaps.iou(np.ones((1, len(test.names)), np.int64))[0],
        "iou_best_per_image": np.nanmean(best_iou_per_image(histograms)),
    }
    return {name: float(value) for name, value in metrics.items()}, histograms, overlaps


def cross_fitted(test: Predictions, histograms: ScoreHistograms) -> Overlaps:
    """Count what is found in each half of the images, at the threshold with the best IoU on the other half.

    No image has a say in its own threshold, and a network that knows its training images by heart gains nothing. Where
    the other half shows no defect, because there is only one in all, no threshold can be chosen there: it is the best
    on all images.

    Args:
        test: of the test images.
        histograms: of the same images.
    """
    half = halves(test.groups, test.labels)
    place = np.zeros(len(half), np.int64)
    for own in (False, True):
        other = half != own
        if not test.labels[other].any():
            other = np.ones_like(half)
        place[half == own] = best_bin(histograms.positives[other].sum(0), histograms.negatives[other].sum(0))
    reached = np.arange(len(histograms.edges))[None] >= place[:, None]
    found, wrong = ((kind * reached).sum(1) for kind in (histograms.positives, histograms.negatives))
    return Overlaps(found, wrong, histograms.positives.sum(1))


def halves(groups: Sequence[str], labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Divide images into two halves, whole groups at a time, each with about half of the defects.

    Args:
        groups: group of each image.
        labels: which images show a defect.

    Returns:
        bool ``[N]``. Where all defects are of one group, images are divided and not groups.
    """
    names = np.asarray(groups)
    if len(set(names[labels].tolist())) < 2:
        names = np.arange(len(names))
    defective = {name for name, defect in zip(names.tolist(), labels.tolist(), strict=True) if defect}
    result = np.zeros(len(names), bool)
    for chosen in (defective, set(names.tolist()) - defective):
        result |= np.isin(names, sorted(chosen)[1::2])
    return result


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
