# SPDX-License-Identifier: Apache-2.0
"""Does the prompt decide what is drawn? The same mask, place and seed are drawn once with each type's prompt.

A classifier that learnt the types on real unseen defects compares the drawings with each other, so that neither the
shape of the mask nor the place can tell it anything. What fails: a type that mask or place alone decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import mean_interval
from seas_aug.evaluate.group_folds import auroc, fit, linear_classifier, out_of_fold_type_scores, type_scores
from seas_aug.evaluate.measured import Measured, not_measured


def follows_prompt(
    real: NDArray[np.float32],
    real_types: Sequence[str],
    drawn: Mapping[str, NDArray[np.float32]],
    groups: Sequence[str],
) -> Measured:
    """Return how often, for two types, the log-odds of the first are higher for the drawing with its prompt.

    Args:
        real: features ``[R, F]`` of real unseen defects of two or more types.
        real_types: type of each.
        drawn: per type, features ``[M, F]`` of drawings with its prompt; row i of each has the same mask, place
            and seed.
        groups: of the M masks.

    Returns:
        ``value`` in [0, 1] over all masks and pairs of types, 0.5 is chance (equal drawings count half); ``by_type``
        over the pairs that a type is one of; ``extra``: each pair.
    """
    types = sorted(set(real_types) & set(drawn))
    if len(types) < 2:
        return not_measured("one type only")
    classifier = fit(linear_classifier(), real, np.asarray(real_types))
    columns = {str(name): index for index, name in enumerate(classifier.classes_)}
    log = {name: type_scores(classifier, drawn[name]) for name in types}
    wins = {}
    for k, j in combinations(types, 2):
        odds = [log[prompt][:, columns[k]] - log[prompt][:, columns[j]] for prompt in (k, j)]
        wins[k, j] = (odds[0] > odds[1]) + 0.5 * (odds[0] == odds[1])
    found = mean_interval(np.mean(list(wins.values()), axis=0), groups)
    by_type = {name: float(np.mean([won for pair, won in wins.items() if name in pair])) for name in types}
    pairs = {f"{k}/{j}": float(won.mean()) for (k, j), won in wins.items()}
    return Measured(*found, len(groups) * len(wins), by_type, {"pairs": pairs})


def followed_by_real(real: NDArray[np.float32], types: Sequence[str], groups: Sequence[str]) -> float:
    """Return what real defects of groups that were not learnt from reach in :func:`follows_prompt`.

    Args:
        real: features ``[R, F]`` of real unseen defects.
        types: type of each.
        groups: group of each.

    Returns:
        Mean over pairs of types of the share of pairs of windows that are the right way round; the masks differ, as no
        two real defects have the same.
    """
    log, kinds = out_of_fold_type_scores(real, types, groups)
    names = np.asarray(types)
    tested = np.isfinite(log).all(1)
    shares = []
    for k, j in combinations(range(len(kinds)), 2):
        odds = log[:, k] - log[:, j]
        shares.append(auroc(odds[tested & (names == kinds[k])], odds[tested & (names == kinds[j])]))
    return float(np.mean(shares)) if shares else float("nan")
