# SPDX-License-Identifier: Apache-2.0
"""Pixel scores of many images, kept as one histogram per image, and the metrics that follow from them.

Histograms are a thousandth of the size of the anomaly maps and let a bootstrap draw images anew thousands of times. All
scores of a bin count as tied; with bin borders at quantiles of the scores, metrics differ from the exact ones by less
than one part in a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 1024
_SAMPLED = 2_000_000  # scores of a kind that quantiles are taken from


@dataclass(frozen=True)
class ScoreHistograms:
    """How many pixels of each image score how high.

    Args:
        edges: ascending lower borders of the bins, float64 ``[B]``; the first is minus infinity.
        positives: defect pixels, int64 ``[N, B]``.
        negatives: other pixels, int64 ``[N, B]``.
    """

    edges: Floats
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    def coarser(self, factor: int) -> ScoreHistograms:
        """Return histograms with each ``factor`` bins as one."""
        starts = np.arange(0, len(self.edges), factor)
        counts = (np.add.reduceat(kind, starts, axis=1) for kind in (self.positives, self.negatives))
        return ScoreHistograms(self.edges[starts], *counts)


def make_histograms(scores: NDArray[Any], masks: NDArray[Any], bins: int = BINS) -> ScoreHistograms:
    """Count the pixels of each image by score.

    Args:
        scores: anomaly maps, float ``[N, H, W]``; higher is more anomalous.
        masks: bool ``[N, H, W]``; one or more pixels of all images are defect, and one or more are not.
        bins: about how many bins; half of the borders are quantiles of defect pixels' scores, half of the others'.

    Returns:
        The histograms.

    Raises:
        ValueError: shapes differ, a score is not finite, or one of the two kinds of pixels is missing.
    """
    if scores.shape != masks.shape:
        raise ValueError(f"scores of shape {scores.shape} and masks of shape {masks.shape}; expected the same shape")
    if not np.isfinite(scores).all():
        raise ValueError("scores that are not finite; the network diverged")
    inside = masks.astype(bool)
    if not inside.any() or inside.all():
        raise ValueError("masks with no defect pixel, or with nothing else; pixel metrics need both")
    shares = np.linspace(0, 1, bins // 2 + 1)
    kinds = [np.quantile(_thinned(scores[chosen]), shares, method="nearest") for chosen in (inside, ~inside)]
    edges = np.unique(np.concatenate([[-np.inf], *kinds]).astype(np.float64))
    place = np.searchsorted(edges, scores.astype(np.float64), side="right") - 1
    rows = np.arange(len(scores))[:, None, None] * len(edges) + place
    size = len(scores) * len(edges)
    counts = [np.bincount(rows[chosen], minlength=size).reshape(len(scores), -1) for chosen in (inside, ~inside)]
    return ScoreHistograms(edges, counts[0].astype(np.int64), counts[1].astype(np.int64))


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    return values[:: max(1, len(values) // _SAMPLED)]


def average_precision(positives: NDArray[Any], negatives: NDArray[Any]) -> Floats:
    """Return the area under the precision-recall curve, step by step as in anomalib and scikit-learn (AP).

    Args:
        positives: counts of defect pixels (or images) per bin, ascending scores, ``[..., B]``.
        negatives: of the others, ``[..., B]``.

    Returns:
        ``[...]`` in [0, 1]; NaN where there are no positives.
    """
    found, wrong = _at_or_above(positives), _at_or_above(negatives)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = found / (found + wrong)
        share = positives / found[..., :1]
    return np.where(positives > 0, share * precision, np.where(np.isnan(share), np.nan, 0.0)).sum(-1)


def auroc(positives: NDArray[Any], negatives: NDArray[Any]) -> Floats:
    """Return the area under the receiver operating characteristic: chance that a positive scores above a negative.

    Args:
        positives: counts per bin, ascending scores, ``[..., B]``.
        negatives: of the others, ``[..., B]``.

    Returns:
        ``[...]`` in [0, 1]; NaN where one kind is missing.
    """
    below = np.cumsum(negatives, -1, dtype=np.float64) - negatives
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positives * (below + negatives / 2)).sum(-1) / (positives.sum(-1) * negatives.sum(-1, dtype=np.float64))


def f1_max(positives: NDArray[Any], negatives: NDArray[Any]) -> Floats:
    """Return the largest F1 score over all thresholds.

    Args:
        positives: counts per bin, ascending scores, ``[..., B]``.
        negatives: of the others, ``[..., B]``.

    Returns:
        ``[...]`` in [0, 1].
    """
    overlap = _overlaps(positives, negatives)
    return np.asarray((2 * overlap / (1 + overlap)).max(-1))


def iou_at(positives: NDArray[Any], negatives: NDArray[Any], first_bin: int) -> Floats:
    """Return the intersection over union of the pixels from a bin on with the defect.

    Args:
        positives: counts per bin, ascending scores, ``[..., B]``.
        negatives: of the others, ``[..., B]``.
        first_bin: index of the lowest bin that counts as found.

    Returns:
        ``[...]`` in [0, 1].
    """
    return np.asarray(_overlaps(positives, negatives)[..., first_bin])


def best_bin(positives: NDArray[Any], negatives: NDArray[Any]) -> int:
    """Return the bin from which on the intersection over union is largest.

    Args:
        positives: counts per bin, ascending scores, ``[B]``.
        negatives: of the others, ``[B]``.
    """
    return int(_overlaps(positives, negatives).argmax(-1))


def best_iou_per_image(histograms: ScoreHistograms) -> Floats:
    """Return each image's largest intersection over union over all thresholds, the paper's figure (it flatters).

    Args:
        histograms: of ``N`` images.

    Returns:
        ``[N]``; NaN for images without a defect, which the paper leaves out.
    """
    best = _overlaps(histograms.positives, histograms.negatives).max(-1)
    return np.where(histograms.positives.sum(-1) > 0, best, np.nan)


def _at_or_above(counts: NDArray[Any]) -> Floats:
    return np.asarray(np.cumsum(counts[..., ::-1], -1, dtype=np.float64)[..., ::-1])


def _overlaps(positives: NDArray[Any], negatives: NDArray[Any]) -> Floats:
    """Return the intersection over union for a threshold at each bin's lower border."""
    found, wrong = _at_or_above(positives), _at_or_above(negatives)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(found / (found[..., :1] + wrong))
