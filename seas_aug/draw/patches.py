# SPDX-License-Identifier: Apache-2.0
"""Where a normal window is drawn anew: patches all over it, so that what lies between them ties the new to the old."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_KNOTS = 6  # random values along a side, whose sign decides
_COVERED = 0.5  # share of the window


def normal_patches(seed: int, size: int) -> NDArray[np.uint8]:
    """Return smooth random patches, uint8 ``[size, size]`` of 0 and 1, that cover half of a window.

    Args:
        seed: of the patches.
        size: side of the window in pixels.
    """
    knots = np.random.default_rng(seed).standard_normal((_KNOTS, _KNOTS)).astype(np.float32)
    field = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    return (field > np.quantile(field, 1 - _COVERED)).astype(np.uint8)
