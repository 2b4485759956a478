# SPDX-License-Identifier: Apache-2.0
"""Whether a defect fits somewhere: what surrounds it there has to look like what surrounded it in its own image.

A scratch of a screw's neck belongs on a neck, and screws lie in all directions; on a surface that is alike everywhere
any place will do.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

GRAIN = 0.05
"""Standard deviation of pixels in [0, 1] below which a surface is alike everywhere."""
_OFFSET = 0.08  # difference of mean brightness that another lamp or exposure makes

Floats = NDArray[np.float32]


def ring(mask: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """Return what surrounds a defect, uint8 ``[H, W]`` of 0 and 1.

    Args:
        mask: uint8 ``[H, W]`` of 0 and 1.
        reach: width of the ring in pixels, 2 or more; the pixels next to the defect, which may show some of it, are
            not part of it.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask, kernel) - cv2.dilate(mask, np.ones((3, 3), np.uint8)), dtype=np.uint8)


def misfit(own: Floats, others: Floats) -> Floats:
    """Return the share of difference between the surroundings of a defect and those of places.

    The sum of (a - b)^2 over that of a^2 + b^2, both means taken out: 0 for the same pixels, 1 for pixels that have
    nothing to do with each other. What is flatter than :data:`GRAIN` counts as the same. A difference of the means by
    more than another lamp makes counts too, or a defect of a part would fit on the plain backdrop beside it.

    Args:
        own: pixels of the ring in the defect's own image, ``[n, C]`` in [0, 1].
        others: the same pixels at M places, ``[M, n, C]`` in [0, 1].

    Returns:
        float32 ``[M]``, 0 to about 1.
    """
    count = float(own.size)
    mean, means = own.mean(0), others.mean(1)  # (C,), (M, C)
    a, b = own - mean, others - means[:, None]
    energy, squares = float((a * a).sum()), (b * b).sum((1, 2))
    common = (a[None] * b).sum((1, 2))
    return _share(energy + squares - 2 * common, energy + squares, _beyond_light(means - mean), count)


def misfit_map(search: Floats, template: Floats, weight: Floats) -> Floats:
    """Return :func:`misfit` for each shift of a defect's surroundings over an image.

    Args:
        search: ``[H, W, C]`` in [0, 1].
        template: the defect's own image, ``[h, w, C]`` in [0, 1], no larger than ``search``.
        weight: its ring, ``[h, w]`` of 0 and 1, not all 0.

    Returns:
        float32 ``[H - h + 1, W - w + 1]``.
    """
    pixels, channels = float(weight.sum()), template.shape[-1]
    mean = (template * weight[..., None]).sum((0, 1)) / pixels
    own = (template - mean) * weight[..., None]
    energy = float((own * own).sum())
    size = (search.shape[0] - template.shape[0] + 1, search.shape[1] - template.shape[1] + 1)
    squares, common, beyond = (np.zeros(size, np.float32) for _ in range(3))
    for channel in range(channels):
        plane = np.ascontiguousarray(search[..., channel])
        total = cv2.matchTemplate(plane, weight, cv2.TM_CCORR)
        squares += np.maximum(cv2.matchTemplate(plane * plane, weight, cv2.TM_CCORR) - total**2 / pixels, 0)
        common += cv2.matchTemplate(plane, np.ascontiguousarray(own[..., channel]), cv2.TM_CCORR)
        beyond += _beyond_light((total / pixels - mean[channel])[..., None])
    difference = np.maximum(energy + squares - 2 * common, 0)
    return _share(difference, energy + squares, beyond, pixels * channels)


def _beyond_light(difference: NDArray[Any]) -> NDArray[Any]:
    """Return the squares of differences of means, summed over the last axis, less what another lamp makes."""
    return (np.maximum(np.abs(difference) - _OFFSET, 0) ** 2).sum(-1)


def _share(difference: Any, energy: Any, beyond: Any, count: float) -> Floats:
    """Return differences over energies; ``beyond``, that of the means, weighs as much as one of every value."""
    extra = beyond * count
    return np.asarray((difference + extra) / (energy + count * GRAIN**2 + extra), dtype=np.float32)
