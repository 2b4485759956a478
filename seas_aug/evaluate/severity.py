# SPDX-License-Identifier: Apache-2.0
"""Does a stronger defect look stronger? What fails: a setting that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import mean_interval
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_difference import mean_inside, smoothed_difference
from seas_aug.evaluate.window_set import Images

SEVERITIES = (0.25, 0.5, 0.75, 1.0)


def severity(
    drawn: Sequence[Images],
    null_other: Images,
    masks: NDArray[np.uint8],
    types: Sequence[str],
    groups: Sequence[str],
) -> Measured:
    """Return the share of seeds whose mean difference from a normal fill rises from each severity to the next.

    Args:
        drawn: per severity, ascending, the same seeds and masks: uint8 ``[N, S, S, 3]`` each.
        null_other: normal fills with another seed.
        masks: uint8 ``[N, S, S]`` of 0 and 1.
        types: type of each.
        groups: group of each.

    Returns:
        ``value`` in [0, 1]; ``extra["mean_difference"]``: of each severity, in grey levels.
    """
    if len(drawn) < 2 or not len(masks):
        return not_measured("fewer than two severities, or no pairs")
    changes = np.stack([mean_inside(smoothed_difference(images, null_other), masks) for images in drawn])
    rises: NDArray[np.bool_] = np.asarray((np.diff(changes, axis=0) > 0).all(0))
    names = np.asarray(types)
    by_type = {name: float(rises[names == name].mean()) for name in sorted(set(types))}
    means = [float(value) for value in changes.mean(1)]
    return Measured(*mean_interval(rises, groups), len(masks), by_type, {"mean_difference": means})
