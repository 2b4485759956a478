# SPDX-License-Identifier: Apache-2.0
"""What lies around a part: a plain backdrop, on which nothing can be defective.

Surroundings alone do not tell a scratch on the edge of a part from a place beside that edge. Where a part lies on
something plain, that is told by its going on to the borders of the image.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.data.surroundings import ring
from seas_aug.data.windows import scale_pixels

_SIDE = 320  # pixels: images are looked at so small
_STEP = 3  # grey levels from one pixel to the next, on something plain
_LIGHT = 40  # grey levels by which it may differ in all, from one corner to the other
_LEAST, _MOST = 0.02, 0.99  # share of an image that is backdrop
_PART = 0.005  # share of an image below which a thing is no part, but grain or dirt
_PARTS = 0.9  # share of what is no backdrop that has to be parts
_RING = 8  # pixels around a defect
_SURROUNDED = 0.9  # share of them

Pixels = NDArray[np.uint8]


def find_backdrop(pixels: Pixels) -> Pixels | None:
    """Return where the backdrop is, in the image made smaller.

    Args:
        pixels: uint8 ``[H, W, 3]``.

    Returns:
        uint8 ``[h, w]`` of 0 and 1, the longer side 320 pixels at most; None where there is none, as on a surface
        that fills its image.
    """
    height, width = pixels.shape[:2]
    factor = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = np.asarray(cv2.blur(scale_pixels(pixels, *size), (3, 3)), dtype=np.uint8)
    border = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    usual = np.median(border, axis=0)
    alike = (np.abs(small.astype(np.int16) - usual).max(-1) <= _LIGHT).astype(np.uint8)
    found = _opened(_plain_from_border(small, alike) * alike)
    if not _LEAST <= float(found.mean()) <= _MOST:
        return None
    parts = np.asarray(1 - found, dtype=np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(parts, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return found if areas[areas >= _PART * parts.size].sum() >= _PARTS * areas.sum() else None


def is_surrounded(backdrop: Pixels, mask: Pixels) -> bool:
    """Return whether a mask has backdrop all around it, so that the backdrop is none: defects occur there.

    Args:
        backdrop: uint8 ``[h, w]`` of 0 and 1 (:func:`find_backdrop`).
        mask: uint8 ``[H, W]`` of 0 and 1, of the image's own size.
    """
    shown = scale_pixels(mask.astype(np.float32), backdrop.shape[1], backdrop.shape[0])
    around = ring((shown > 0).astype(np.uint8), _RING) > 0
    return bool(around.any()) and float(backdrop[around].mean()) >= _SURROUNDED


def share_on(backdrop: Pixels, mask: Pixels) -> float:
    """Return the share of a mask that lies on the backdrop.

    Args:
        backdrop: uint8 ``[h, w]`` of 0 and 1 (:func:`find_backdrop`).
        mask: uint8 ``[H, W]`` of 0 and 1, of the image's own size; not empty.
    """
    weight = scale_pixels(mask.astype(np.float32), backdrop.shape[1], backdrop.shape[0])
    return float((weight * backdrop).sum() / max(float(weight.sum()), 1e-9))


def _plain_from_border(small: Pixels, alike: Pixels) -> Pixels:
    """Return what can be reached from the border without a step."""
    height, width = alike.shape
    reached = np.zeros((height + 2, width + 2), np.uint8)
    step = (_STEP,) * 3
    rows = [(row, column) for row in range(height) for column in (0, width - 1)]
    columns = [(row, column) for column in range(width) for row in (0, height - 1)]
    for row, column in rows + columns:
        if alike[row, column] and not reached[row + 1, column + 1]:
            flags = 4 | (1 << 8) | cv2.FLOODFILL_MASK_ONLY
            cv2.floodFill(small, reached, (column, row), 0, step, step, flags)
    return np.ascontiguousarray(reached[1:-1, 1:-1])


def _opened(mask: Pixels) -> Pixels:
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), dtype=np.uint8)
