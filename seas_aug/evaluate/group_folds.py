# SPDX-License-Identifier: Apache-2.0
"""A linear classifier of features that is always tested on groups it was not trained on.

With random folds few-shot and unseen real defects of one product were told apart at 0.987, since parts were
photographed several times and a network knows it again; by group at 0.89.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

_FOLDS = 5
_REPEATS = 3
_C = 0.01  # strong: there are more features than windows
Floats = NDArray[np.float64]


def linear_classifier() -> Any:
    """Return a logistic regression on standardised features, classes weighted equally."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=2000, class_weight="balanced"))


def fit(classifier: Any, features: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any] | None = None) -> Any:
    """Fit :func:`linear_classifier` with weights of the windows, and return it."""
    given = {} if weights is None else {"logisticregression__sample_weight": weights}
    return classifier.fit(features, labels, **given)


def type_scores(classifier: Any, features: NDArray[Any]) -> Floats:
    """Return scores ``[N, K]`` whose differences are the log-odds of two types, in the order of ``classes_``.

    Logarithms of probabilities would have them too, but for those that are rounded to 0.
    """
    scores = np.asarray(classifier.decision_function(features), np.float64)
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)


def folds_by_group(
    labels: NDArray[Any], groups: Sequence[str], seed: int = 0, strata: Sequence[str] | None = None
) -> list[tuple[Any, Any]]:
    """Divide windows into folds that no group is in two of.

    Args:
        labels: class of each window, ``[N]``.
        groups: group of each.
        seed: of the shuffling.
        strata: what is to be divided evenly beside the classes, such as the type of each.

    Returns:
        Indices for training and testing of up to five folds; as many as the class with fewest groups allows, and none
        where one has a single group.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = np.asarray(groups, dtype=str)
    fewest = min(len(np.unique(names[labels == label])) for label in np.unique(labels))
    if fewest < 2 or len(np.unique(labels)) < 2:
        return []
    divided = StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    kinds = len(np.unique(labels))
    evenly = labels if strata is None else np.asarray([f"{a} {b}" for a, b in zip(labels, strata, strict=True)])
    return [(train, test) for train, test in _split(divided, evenly, names) if len(np.unique(labels[train])) == kinds]


def _split(divided: Any, evenly: NDArray[Any], names: NDArray[Any]) -> list[tuple[Any, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some strata have fewer windows than there are folds
        return list(divided.split(np.zeros(len(evenly)), evenly, names))


@dataclass(frozen=True)
class FoldedScores:
    """How sure classifiers are of windows that they were not trained on.

    Attributes:
        scores: log-odds of the positive class, ``[R, N]`` for R divisions into folds; NaN for what was not tested.
        folds: the fold that each window was tested in, ``[R, N]``.
        weights: of the windows, ``[N]``.
    """

    scores: Floats
    folds: NDArray[np.int64]
    weights: Floats

    def auroc(self, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
        """Return the share of pairs of rows, both tested in the same fold, in which the positive one scores higher.

        Scores of different folds are of different classifiers. Pooled over the folds, two sets that are equal scored
        0.28: whatever sets a window apart from its class is missing where it is tested, and is there for all others.
        """
        wins = total = 0.0
        for scores, folds in zip(self.scores, self.folds, strict=True):
            for fold in range(folds.max() + 1):
                first, second = (rows[folds[rows] == fold] for rows in (positive, negative))
                if len(first) and len(second):
                    pairs = float(self.weights[first].sum() * self.weights[second].sum())
                    share = weighted_auroc(scores[first], scores[second], self.weights[first], self.weights[second])
                    wins, total = wins + share * pairs, total + pairs
        return wins / total if total else float("nan")


def fold_scores(
    features: NDArray[Any],
    positive: NDArray[np.bool_],
    groups: Sequence[str],
    weights: NDArray[Any] | None = None,
    strata: Sequence[str] | None = None,
    repeats: int = _REPEATS,
) -> FoldedScores:
    """Score windows with classifiers that were each trained on the other groups.

    Args:
        features: ``[N, F]``.
        positive: ``[N]``.
        groups: group of each window.
        weights: of the windows; None weighs them equally.
        strata: what is to be divided evenly, such as the type of each.
        repeats: divisions into folds.
    """
    count = len(features)
    scores, folds = np.full((repeats, count), np.nan), np.full((repeats, count), -1)
    for repeat in range(repeats):
        for number, (train, test) in enumerate(folds_by_group(positive, groups, repeat, strata)):
            given = None if weights is None else weights[train]
            classifier = fit(linear_classifier(), features[train], positive[train], given)
            scores[repeat, test] = classifier.decision_function(features[test])
            folds[repeat, test] = number
    return FoldedScores(scores, folds, np.ones(count) if weights is None else np.asarray(weights, np.float64))


def out_of_fold_type_scores(
    features: NDArray[Any], types: Sequence[str], groups: Sequence[str], seed: int = 0
) -> tuple[Floats, list[str]]:
    """Return :func:`type_scores` by classifiers that were trained on the other groups.

    Args:
        features: ``[N, F]``.
        types: type of each window.
        groups: group of each.
        seed: of the folds.

    Returns:
        ``[N, K]``, NaN for windows that could not be tested, and the K types.
    """
    names = np.asarray(types, dtype=str)
    kinds = sorted(set(types))
    found = np.full((len(names), len(kinds)), np.nan)
    for train, test in folds_by_group(names, groups, seed):
        found[test] = type_scores(fit(linear_classifier(), features[train], names[train]), features[test])
    return found, kinds


def out_of_fold_types(features: NDArray[Any], types: Sequence[str], groups: Sequence[str], seed: int = 0) -> list[str]:
    """Return the type that classifiers, each trained on the other groups, take each window for; "" where untested."""
    found, kinds = out_of_fold_type_scores(features, types, groups, seed)
    return [kinds[int(row.argmax())] if np.isfinite(row).all() else "" for row in found]


def auroc(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Return the share of pairs in which the positive score is higher, ties counting half; NaN without a pair."""
    if not len(positive) or not len(negative):
        return float("nan")
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def weighted_auroc(
    positive: NDArray[Any], negative: NDArray[Any], positive_weights: NDArray[Any], negative_weights: NDArray[Any]
) -> float:
    """Return :func:`auroc` with each window counting by its weight."""
    if not len(positive) or not len(negative):
        return float("nan")
    order = np.argsort(negative, kind="stable")
    heap = np.concatenate([[0.0], np.cumsum(negative_weights[order])])
    below = heap[np.searchsorted(negative[order], positive, side="left")]
    up_to = heap[np.searchsorted(negative[order], positive, side="right")]
    wins = (positive_weights * (below + up_to) / 2).sum()
    return float(wins / (positive_weights.sum() * heap[-1]))


def balanced_accuracy(truth: Sequence[str], found: Sequence[str]) -> float:
    """Return the mean over the types of the share of their windows that were recognised."""
    true, seen = np.asarray(truth, dtype=str), np.asarray(found, dtype=str)
    shares = [float((seen[true == name] == name).mean()) for name in np.unique(true)]
    return float(np.mean(shares)) if shares else float("nan")
