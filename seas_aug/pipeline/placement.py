# SPDX-License-Identifier: Apache-2.0
"""Where a copied defect fits: what surrounds it there has to look like what surrounded it in its own image.

A scratch of a screw's neck belongs on a neck, and screws lie in all directions; on a surface that is alike everywhere
any place will do.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

_REACH = 16  # the side divided by this: width of the ring around a defect that is compared, and longest shift
_GRAIN = 0.05  # standard deviation of pixels in [0, 1] below which a surface is alike everywhere
_WORTH = 0.05  # a shift has to lessen the misfit by so much, or noise would shift everything


class Placement(NamedTuple):
    """How well a defect fits, and where.

    Args:
        misfit: share of difference between the surroundings, about 0 to 1; see :func:`find_place`.
        down: rows by which it is shifted.
        right: columns by which it is shifted.
    """

    misfit: float
    down: int
    right: int


def find_place(defect: Tensor, mask: Tensor, reference: Tensor) -> Placement:
    """Return where, within a sixteenth of the side, a defect fits best on another image.

    Compared is the ring around the defect, by the sum of (a - b)^2 over that of a^2 + b^2, with both means taken out:
    0 for the same pixels, 1 for pixels that have nothing to do with each other. A defect at a border stays there.

    Args:
        defect: image that shows it, float ``[C, H, W]`` in [0, 1].
        mask: float ``[1, H, W]`` of 0 and 1.
        reference: float ``[C, H, W]`` in [0, 1].

    Returns:
        The place; a misfit of 0 where nothing surrounds the defect.
    """
    marked = mask[0].contiguous().numpy().astype(np.uint8)
    reach = max(2, len(marked) // _REACH)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    # Not the pixels next to the defect, which may show some of it.
    ring = cv2.dilate(marked, kernel) - cv2.dilate(marked, np.ones((3, 3), np.uint8))
    if not ring.any() or not marked.any():
        return Placement(0.0, 0, 0)
    own, other = (image.permute(1, 2, 0).contiguous().numpy().astype(np.float32) for image in (defect, reference))
    rows, columns = np.nonzero(ring.any(1))[0], np.nonzero(ring.any(0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    up, down = _room(np.asarray(marked.any(1)), top, bottom, reach)
    back, on = _room(np.asarray(marked.any(0)), left, right, reach)
    template, weight = own[top:bottom, left:right], ring[top:bottom, left:right].astype(np.float32)
    search = other[top - up : bottom + down, left - back : right + on]
    weights = np.repeat(weight[..., None], own.shape[-1], axis=2)
    found = _misfit(search, np.ascontiguousarray(template), weights)
    row, column = np.unravel_index(int(found.argmin()), found.shape)
    if found[row, column] < found[up, back] - _WORTH:
        return Placement(float(found[row, column]), int(row) - up, int(column) - back)
    return Placement(float(found[up, back]), 0, 0)


def _misfit(search: np.ndarray, template: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return, for each shift of a template over an image, its share of difference, with both means taken out.

    Sum of (a - b)^2 over sum of a^2 + b^2: 0 for the same pixels, 1 for pixels that have nothing to do with each other.
    What is flatter than ``_GRAIN`` counts as the same.
    """
    count = float(weights.sum())
    own = (template - (template * weights).sum() / count) * weights
    total = cv2.matchTemplate(search, weights, cv2.TM_CCORR)
    squares = cv2.matchTemplate(search * search, weights, cv2.TM_CCORR) - total**2 / count
    common = cv2.matchTemplate(search, own, cv2.TM_CCORR)
    energy = float((own * own).sum()) + np.maximum(squares, 0)
    return np.maximum(energy - 2 * common, 0) / (energy + count * _GRAIN**2)


def _room(marked: np.ndarray, first: int, end: int, reach: int) -> tuple[int, int]:
    """Return how far a ring may be shifted to either side; not at all where the defect touches a border."""
    if marked[0] or marked[-1]:
        return 0, 0
    return min(reach, int(first)), min(reach, len(marked) - int(end))


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Return an image ``[C, H, W]`` shifted by whole pixels; what is left bare repeats the pixels at the border."""
    for axis, shift in ((1, down), (2, right)):
        size = image.shape[axis]
        image = image.index_select(axis, (torch.arange(size) - shift).clamp(0, size - 1))
    return image


def turned(image: Tensor, mask: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Return image and mask turned around their middle; what is left bare mirrors the image.

    Args:
        image: float ``[C, H, W]`` in [0, 1].
        mask: float ``[1, H, W]`` of 0 and 1.
        degrees: counter-clockwise.

    Returns:
        Both of the same shapes; unchanged where nothing of the mask would be left.
    """
    height, width = mask.shape[-2:]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    parts = [
        cv2.warpAffine(
            part.permute(1, 2, 0).contiguous().numpy(), matrix, (width, height), flags=flags, borderMode=border
        ).reshape(height, width, -1)
        for part, flags, border in (
            (image, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101),
            (mask, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT),
        )
    ]
    if mask.any() and not parts[1].any():
        return image, mask
    moved = [torch.from_numpy(part).permute(2, 0, 1) for part in parts]
    return moved[0].clamp(0, 1), moved[1]
