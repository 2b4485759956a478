# SPDX-License-Identifier: Apache-2.0
"""Can a drawn defect be seen? Share of pairs that differ from normal texture more than normal textures differ.

In the same hole of the same window the model fills normal texture twice, with two seeds; how much these differ inside
the mask is what chance does. A drawn defect has to differ from such a fill by more than nearly all of the chance
differences. What fails: normal texture under a mask. Not simply "change above normal against normal", which asks more
than real defects have: neighbouring normal patches differ by more than the median real defect stands out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import mean_interval
from seas_aug.evaluate.measured import Measured, not_measured, of_types
from seas_aug.evaluate.window_difference import mean_inside, smoothed_difference
from seas_aug.evaluate.window_set import Images, WindowSet, pick

_PERCENTILE = 95


def chance_level(null: Images, null_other: Images, masks: NDArray[np.uint8]) -> float:
    """Return the 95th percentile, over a product's masks, of the mean d(null, null') inside the mask.

    Args:
        null: normal fills, uint8 ``[N, S, S, 3]``.
        null_other: the same with another seed.
        masks: uint8 ``[N, S, S]`` of 0 and 1, none empty.

    Returns:
        Grey levels, 0 to 255.
    """
    return float(np.percentile(mean_inside(smoothed_difference(null, null_other), masks), _PERCENTILE))


def visible(drawn: WindowSet, null_other: Images, level: float) -> Measured:
    """Return the share of windows whose defect stands out from a normal fill, of the worst type.

    Args:
        drawn: windows with a defect inside their masks.
        null_other: normal fills of the same holes, made with another seed, uint8 ``[N, S, S, 3]``.
        level: :func:`chance_level` of the product.

    Returns:
        ``value`` in [0, 1]; ``extra``: the level, and the mean difference of each type in grey levels.
    """
    if not len(drawn):
        return not_measured("no pairs")
    changes = mean_inside(smoothed_difference(drawn.images, null_other), drawn.masks)
    types = np.asarray(drawn.types)
    means = {name: float(changes[types == name].mean()) for name in drawn.anomaly_types}
    intervals = {
        name: mean_interval(changes[types == name] > level, pick(drawn.groups, np.flatnonzero(types == name)))
        for name in drawn.anomaly_types
    }
    return of_types(intervals, len(drawn), extra={"level": level, "mean_difference": means})
