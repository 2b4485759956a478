# SPDX-License-Identifier: Apache-2.0
"""Are drawn defects recognised as their type as well as real ones are, above chance?

What fails: the same defect for every type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import bootstrap
from seas_aug.evaluate.group_folds import balanced_accuracy, fit, linear_classifier, out_of_fold_types
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_set import pick

_ABOVE_CHANCE = 0.2  # by which real defects have to be recognised for sure, or there is nothing to compare with


def recognised(
    real: NDArray[np.float32],
    real_types: Sequence[str],
    real_groups: Sequence[str],
    drawn: NDArray[np.float32],
    drawn_types: Sequence[str],
    drawn_groups: Sequence[str],
) -> Measured:
    """Return (a_drawn - 1/K) / (a_real - 1/K) of balanced accuracies over K types.

    Args:
        real: features ``[R, F]`` of real unseen defects; the classifier learns the types on them.
        real_types: type of each.
        real_groups: group of each; a_real is that of groups which were not learnt from.
        drawn: features ``[N, F]`` of drawn defects, with masks of their own type.
        drawn_types: the type each was drawn as.
        drawn_groups: group of each.

    Returns:
        ``value``, 1 where drawn ones are recognised as well as real ones; None where the lower bound of a_real is under
        1/K + 0.2. ``by_type``: share of drawn ones that are recognised; ``extra``: both accuracies.
    """
    types = sorted(set(real_types))
    if len(types) < 2:
        return not_measured("one type only", len(drawn))
    true, found = np.asarray(real_types), np.asarray(out_of_fold_types(real, real_types, real_groups))
    tested = np.flatnonzero(found != "")
    if not len(tested):
        return not_measured("a type of real defects has a single group", len(drawn))
    groups = pick(real_groups, tested)
    chance = 1 / len(types)

    def of_real(rows: NDArray[np.int64]) -> float:
        return balanced_accuracy(true[tested][rows].tolist(), found[tested][rows].tolist())

    accuracy = bootstrap([groups], of_real)
    classifier = fit(linear_classifier(), real, true)
    wanted, seen = np.asarray(drawn_types), classifier.predict(drawn)

    def of_drawn(rows: NDArray[np.int64]) -> float:
        return balanced_accuracy(wanted[rows].tolist(), seen[rows].tolist())

    figures = {
        "real_accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        "drawn_accuracy": of_drawn(np.arange(len(wanted))),
        "chance": chance,
    }
    if accuracy.low < chance + _ABOVE_CHANCE:
        reason = (
            f"not evaluable: real defects are recognised at {accuracy.value:.2f} ({accuracy.low:.2f} to "
            f"{accuracy.high:.2f}), chance is {chance:.2f}"
        )
        return not_measured(reason, len(drawn), **figures)

    def ratio(theirs: NDArray[np.int64], mine: NDArray[np.int64]) -> float:
        above = of_real(theirs) - chance
        return (of_drawn(mine) - chance) / above if above > 0 else float("nan")

    by_type = {name: float((seen[wanted == name] == name).mean()) for name in sorted(set(drawn_types))}
    return Measured(*bootstrap([groups, drawn_groups], ratio), len(drawn), by_type, figures)
