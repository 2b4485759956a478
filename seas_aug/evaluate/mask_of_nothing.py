# SPDX-License-Identifier: Apache-2.0
"""Does the mask predictor find nothing where nothing is? What fails: the outline of the hole handed through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import mean_interval
from seas_aug.evaluate.measured import Measured, not_measured


def mask_of_nothing(
    probabilities: NDArray[np.float32], threshold: float, types: Sequence[str], groups: Sequence[str]
) -> Measured:
    """Return the share of normal fills in which no pixel is taken for a defect.

    Args:
        probabilities: of a defect in normal fills, float32 ``[N, S, S]`` in [0, 1].
        threshold: probability above which a pixel belongs to a defect.
        types: the type that was looked for in each.
        groups: group of each.

    Returns:
        ``value`` in [0, 1]; ``by_type``; ``extra["mean_area"]``: mean share of a window that is taken for a defect.
    """
    if not len(probabilities):
        return not_measured("no fills")
    found = (probabilities > threshold).sum((1, 2))
    names = np.asarray(types)
    by_type = {name: float((found[names == name] == 0).mean()) for name in sorted(set(types))}
    area = float(found.mean() / probabilities[0].size)
    return Measured(*mean_interval(found == 0, groups), len(found), by_type, {"mean_area": area})
