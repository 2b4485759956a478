# SPDX-License-Identifier: Apache-2.0
"""Do drawn defects look like real ones? How well a classifier tells them from real defects that nobody trained on.

0.5 cannot be told, 1 always. Few-shot defects are told from unseen ones too, as they are of other parts: theirs is the
floor, that of pasted few-shot defects what has to be reached. What fails: noise or blotches inside the mask, and
normal texture. Kernel distances on the same features were tried and decided by a few outliers.

A generator draws as many as one likes, so that its windows are tested on others of its own, whatever they were copied
from: that a few defects are repeated is a fault that shall be seen. Real ones are tested on other parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import Interval, bootstrap
from seas_aug.evaluate.group_folds import fold_scores
from seas_aug.evaluate.measured import Measured, not_measured

_DRAWS = 200  # each compares all pairs of fifteen folds


def realism(
    drawn: NDArray[np.float32],
    drawn_types: Sequence[str],
    drawn_groups: Sequence[str],
    real: NDArray[np.float32],
    real_types: Sequence[str],
    real_groups: Sequence[str],
) -> Measured:
    """Return the AUROC of a linear classifier that tells drawn defects from real ones, folds by group.

    Types weigh equally: in training by the weights of their windows, and in the figure, which is their mean. Only
    windows of one type are compared, since folds do not have all types in the same shares. Types that a side lacks are
    left out.

    Args:
        drawn: features ``[N, F]``.
        drawn_types: type of each.
        drawn_groups: of each, what it must not be known by: the reference that it was drawn on.
        real: features ``[M, F]`` of real unseen defects, which went through the autoencoder.
        real_types: type of each.
        real_groups: group of each.

    Returns:
        ``value`` in [0, 1], lower is better; None with fewer than two groups on a side.
    """
    both = sorted(set(drawn_types) & set(real_types))
    kept = [np.asarray([name in both for name in names], bool) for names in (drawn_types, real_types)]
    features = np.concatenate([drawn[kept[0]], real[kept[1]]])
    types = np.asarray([*drawn_types, *real_types])[np.concatenate(kept)]
    groups = np.asarray([*drawn_groups, *real_groups])[np.concatenate(kept)]
    is_drawn = np.arange(len(features)) < int(kept[0].sum())
    if not both or min(len(set(groups[is_drawn])), len(set(groups[~is_drawn]))) < 2:
        return not_measured("fewer than two groups of drawn or of real defects", len(features))
    counts = Counter(zip(types, is_drawn, strict=True))
    weights = np.asarray([1 / counts[key] for key in zip(types, is_drawn, strict=True)])
    weights *= len(features) / weights.sum()  # mean 1, so that the classifier is as strong for any number of types
    scores = fold_scores(features, is_drawn, groups.tolist(), weights, types.tolist())

    def figure(mine: NDArray[np.int64], theirs: NDArray[np.int64], chosen: Sequence[str] = both) -> float:
        first, second = np.flatnonzero(is_drawn)[mine], np.flatnonzero(~is_drawn)[theirs]
        shares = [scores.auroc(first[types[first] == name], second[types[second] == name]) for name in chosen]
        told = [share for share in shares if np.isfinite(share)]
        return float(np.mean(told)) if told else float("nan")

    sides = [groups[is_drawn].tolist(), groups[~is_drawn].tolist()]
    found: Interval = bootstrap(sides, figure, _DRAWS)
    everything = (np.arange(len(sides[0])), np.arange(len(sides[1])))
    by_type = {name: figure(*everything, [name]) for name in both}
    return Measured(*found, len(features), by_type)
