# SPDX-License-Identifier: Apache-2.0
"""How sure a figure is: a bootstrap over groups, since windows of one part are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.bootstrap import draw_weights

DRAWS = 400
"""Samples; the ends of a 95 % interval are then known to about a tenth of its width."""


class Interval(NamedTuple):
    """A figure with the ends of its 95 % interval; all NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


def bootstrap(
    groups: Sequence[Sequence[Any]], figure: Callable[..., float], draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Return a figure of one or more sets of windows with its interval.

    A group that occurs in several sets (a reference that was drawn on twice) is drawn alike in all of them.

    Args:
        groups: of each set, the group of each of its windows.
        figure: from one array of indices per set, int64 ``[N_i]``, to the figure; NaN where a sample has none.
        draws: samples.
        seed: of the samples.
    """
    parts = [np.asarray(one, dtype=str) for one in groups]
    value = float(figure(*(np.arange(len(part)) for part in parts)))
    weights = draw_weights(np.concatenate(parts).tolist(), draws, np.random.default_rng(seed))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    samples = []
    for row in weights:
        indices = [np.repeat(np.arange(len(part)), part) for part in np.split(row, ends)]
        samples.append(float(figure(*indices)) if all(len(part) for part in indices) else float("nan"))
    found: NDArray[np.float64] = np.asarray(samples)
    if not np.isfinite(found).any():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def mean_interval(values: NDArray[Any], groups: Sequence[Any], draws: int = DRAWS, seed: int = 0) -> Interval:
    """Return the mean of values ``[N]`` with its interval; NaN for none."""
    if not len(values):
        return Interval(*[float("nan")] * 3)
    numbers = np.asarray(values, float)
    return bootstrap([groups], lambda rows: float(numbers[rows].mean()), draws, seed)
