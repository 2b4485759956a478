# SPDX-License-Identifier: Apache-2.0
"""Are both defects there where two types are asked for? As often as they are found in composites of two real ones.

What fails: one of the two drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import bootstrap
from seas_aug.evaluate.group_folds import fit, folds_by_group, linear_classifier
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_set import pick

_LEAST_SHARE = 0.2  # of composites in which both are found; below it there is nothing to compare with
Types = tuple[str, ...]


def both_found(
    train: NDArray[np.float32], train_types: Sequence[Types], test: NDArray[np.float32], test_types: Sequence[Types]
) -> NDArray[np.bool_]:
    """Return in which windows all their types are found by a classifier with one output per type, ``[N]``.

    Args:
        train: features ``[M, F]``.
        train_types: the types that each shows, one or more.
        test: features ``[N, F]``.
        test_types: the types that are looked for.
    """
    found = np.ones(len(test), bool)
    for name in sorted({entry for types in test_types for entry in types}):
        shown = np.asarray([name in types for types in train_types])
        wanted = np.asarray([name in types for types in test_types])
        if shown.any() and not shown.all():
            found[wanted] &= fit(linear_classifier(), train, shown).decision_function(test[wanted]) > 0
        else:
            found &= ~wanted
    return found


def recombined(
    real: NDArray[np.float32],
    real_types: Sequence[Types],
    real_groups: Sequence[str],
    drawn: NDArray[np.float32],
    drawn_types: Sequence[Types],
    drawn_groups: Sequence[str],
) -> Measured:
    """Return the share of drawn windows in which both types are found, over that of composites on held-out groups.

    Args:
        real: features ``[M, F]`` of windows with one real unseen defect, and of composites of two.
        real_types: one or two types of each.
        real_groups: group of each; a composite's are those of its first defect.
        drawn: features ``[N, F]``.
        drawn_types: the two types that were asked for.
        drawn_groups: group of each.

    Returns:
        ``value``, 1 where both are found as often as in composites; ``extra``: both shares.
    """
    composite = np.asarray([len(types) > 1 for types in real_types])
    if not composite.any() or not len(drawn):
        return not_measured("no composites, or nothing drawn", len(drawn))
    found = np.full(len(real), np.nan)
    for train, test in folds_by_group(composite, real_groups):
        found[test] = both_found(real[train], [real_types[i] for i in train], real[test], [real_types[i] for i in test])
    rows = np.flatnonzero(composite & np.isfinite(found))
    if not len(rows):
        return not_measured("composites of fewer than two groups", len(drawn))
    theirs, groups = found[rows], pick(real_groups, rows)
    mine = both_found(real, real_types, drawn, drawn_types)
    shares = {"composite_share": float(theirs.mean()), "drawn_share": float(mine.mean())}
    if shares["composite_share"] < _LEAST_SHARE:
        reason = f"not evaluable: both are found in {shares['composite_share']:.2f} of the composites of real defects"
        return not_measured(reason, len(drawn), **shares)

    def ratio(i: NDArray[np.int64], j: NDArray[np.int64]) -> float:
        share = float(theirs[i].mean())
        return float(mine[j].mean()) / share if share > 0 else float("nan")

    pairs = np.asarray(["+".join(sorted(types)) for types in drawn_types])
    by_type = {name: float(mine[pairs == name].mean()) for name in sorted(set(pairs.tolist()))}
    return Measured(*bootstrap([groups, drawn_groups], ratio), len(drawn), by_type, shares)
