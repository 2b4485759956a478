# SPDX-License-Identifier: Apache-2.0
"""How much two windows differ, pixel by pixel, and how far pixels lie from the edge of a mask."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def smoothed_difference(one: NDArray[np.uint8], other: NDArray[np.uint8], box: int = 3) -> Floats:
    """Return d(a, b): the mean absolute difference over the channels after a box filter, in grey levels.

    Args:
        one: uint8 ``[N, S, S, 3]``.
        other: uint8 of the same shape.
        box: side of the filter in pixels; 1 filters nothing.

    Returns:
        float32 ``[N, S, S]``, 0 to 255.
    """
    signed = one.astype(np.float32) - other.astype(np.float32)
    # The filter is linear, so that the difference may be filtered in place of both pictures.
    return np.stack([np.abs(cv2.blur(entry, (box, box), borderType=cv2.BORDER_REPLICATE)).mean(-1) for entry in signed])


def mean_inside(values: NDArray[Any], masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean of each ``[S, S]`` of values ``[N, S, S]`` where its mask is 1; NaN for an empty mask."""
    inside = masks > 0
    count = inside.sum((1, 2))
    total = np.where(inside, values, 0).sum((1, 2), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def signed_distances(masks: NDArray[np.uint8]) -> Floats:
    """Return how far each pixel lies from the edge of its mask, in pixels: 1 and more outside, -1 and less inside.

    Args:
        masks: uint8 ``[N, S, S]`` of 0 and 1.
    """
    return np.stack(
        [
            cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) - cv2.distanceTransform(mask, cv2.DIST_L2, 5)
            for mask in masks.astype(np.uint8)
        ]
    )


def grown(masks: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """Return masks that reach so many pixels further on all sides."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return np.stack([cv2.dilate(mask, kernel) for mask in masks])
