# SPDX-License-Identifier: Apache-2.0
"""Are drawn masks as various as real ones, in size and in shape? What fails: one blob.

The spread is taken within the types and averaged over them: of a single type the spread of real masks itself differs
between halves of their groups by factors of 0.37 to 1.7 (magnetic_tile), so that no drawing could be told by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import Interval, bootstrap
from seas_aug.evaluate.measured import Measured, not_measured

_LEAST = 5  # masks of a type on each side; the spread of fewer says nothing


def log_area(masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logarithm of the number of pixels of masks ``[N, S, S]``, none empty: ``[N]``."""
    return np.log(np.maximum((masks > 0).sum((1, 2)), 1))


def log_elongation(masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logarithm of length over width of masks ``[N, S, S]``: ``[N]``, 0 for a disc or a square.

    Both are roots of the second moments, to which a pixel's own 1/12 is added, so that a line of one pixel has a width.
    """
    values = []
    for mask in masks:
        places = np.argwhere(mask > 0).astype(np.float64)
        moments = np.cov(places.T, bias=True) if len(places) > 1 else np.zeros((2, 2))
        small, large = np.linalg.eigvalsh(moments + np.eye(2) / 12)
        values.append(0.5 * math.log(large / small))
    return np.asarray(values)


def mask_shapes(
    drawn: NDArray[np.uint8],
    drawn_types: Sequence[str],
    drawn_groups: Sequence[str],
    real: NDArray[np.uint8],
    real_types: Sequence[str],
    real_groups: Sequence[str],
) -> Measured:
    """Return the spread of drawn masks over that of real ones, of area or of elongation, whichever is further from 1.

    Args:
        drawn: uint8 ``[N, S, S]`` of 0 and 1, none empty.
        drawn_types: type of each.
        drawn_groups: group of each.
        real: masks of real unseen defects on the same scale, uint8 ``[M, S, S]``.
        real_types: type of each.
        real_groups: group of each.

    Returns:
        ``value``: ratio of standard deviations of logarithms, variances averaged over the types; ``by_type``: ratio of
        each type for ``area`` and ``elongation``; ``extra``: both with their intervals.
    """
    quantities = {
        "area": (log_area(drawn), log_area(real)),
        "elongation": (log_elongation(drawn), log_elongation(real)),
    }
    mine, theirs = np.asarray(drawn_types), np.asarray(real_types)
    types = [
        name
        for name in sorted(set(drawn_types) & set(real_types))
        if min((mine == name).sum(), (theirs == name).sum()) >= _LEAST
    ]
    if not types:
        return not_measured(f"fewer than {_LEAST} masks of a type", len(drawn))
    found: dict[str, Interval] = {}
    by_type: dict[str, dict[str, float]] = {name: {} for name in types}
    for quantity, (first, second) in quantities.items():

        def ratio(
            i: NDArray[np.int64],
            j: NDArray[np.int64],
            one: NDArray[np.float64] = first,
            other: NDArray[np.float64] = second,
            kinds: Sequence[str] = types,
        ) -> float:
            above, below = (
                np.mean([part[rows][names[rows] == name].var() for name in kinds if (names[rows] == name).any()])
                for part, rows, names in ((one, i, mine), (other, j, theirs))
            )
            return float(np.sqrt(above / below)) if below > 0 else float("nan")

        found[quantity] = bootstrap([drawn_groups, real_groups], ratio)
        for name in types:
            by_type[name][quantity] = ratio(np.arange(len(mine)), np.arange(len(theirs)), kinds=[name])
    quantity = max(found, key=lambda key: abs(math.log(max(found[key].value, 1e-6))))
    extra = {"worst_quantity": quantity, **{name: interval._asdict() for name, interval in found.items()}}
    return Measured(*found[quantity], len(drawn), by_type, extra)
