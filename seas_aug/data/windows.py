# SPDX-License-Identifier: Apache-2.0
"""Square windows at the scale of a defect, in images of any size: what SeaS learns and draws in.

Not part of the paper, which scales every image to one square. A scratch of 40 px in a picture of 3000 is less than a
pixel there; in a window of 128 px it is a third of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.data.images import resize_mask

LARGEST_SHARE = 0.4
"""A defect takes at most this share of the side of a window that is chosen for it, where the image allows one."""
STEP = 2**0.5
"""From one size of windows to the next."""
TOGETHER = 0.5
"""Parts of a defect nearer than this share of their own size are one defect."""


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels.

    Attributes:
        top: first row.
        left: first column.
        height: rows, 1 or more.
        width: columns, 1 or more.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def extent(self) -> int:
        """The longer side in pixels."""
        return max(self.height, self.width)

    def cut(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a view of ``pixels [H, W, ...]``."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Window(Box):
    """A square inside an image. Made by :func:`window`, which keeps it inside."""

    @property
    def side(self) -> int:
        """Pixels along a side."""
        return self.height


def window(top: int, left: int, side: int, shape: Sequence[int]) -> Window:
    """Return the square of a size that lies inside an image and nearest to a place.

    Args:
        top: wanted first row; any number.
        left: wanted first column; any number.
        side: wanted side in pixels; the shorter side of the image at most is taken.
        shape: height and width of the image, and what follows.
    """
    height, width = int(shape[0]), int(shape[1])
    side = max(1, min(side, height, width))
    return Window(min(max(top, 0), height - side), min(max(left, 0), width - side), side, side)


def defect_boxes(mask: NDArray[np.uint8]) -> list[Box]:
    """Return where the defects of a mask are, the largest first: parts that lie close together are one defect.

    Args:
        mask: uint8 ``[H, W]`` of 0 and 1.

    Returns:
        One box per defect; none for an empty mask.
    """
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = [Box(int(top), int(left), int(height), int(width)) for left, top, width, height, _ in stats[1:count]]
    edges, kept = np.zeros((len(boxes), 4)), np.zeros(len(boxes), bool)  # of those joined so far
    for number, box in enumerate(sorted(boxes, key=_largest_first)):
        top, left, bottom, right = box.top, box.left, box.top + box.height, box.left + box.width
        while (near := kept & _are_close(edges, (top, left, bottom, right))).any():
            other = int(near.argmax())
            kept[other] = False
            first, last = edges[other, :2], edges[other, 2:]
            top, left = min(top, int(first[0])), min(left, int(first[1]))
            bottom, right = max(bottom, int(last[0])), max(right, int(last[1]))
        edges[number], kept[number] = (top, left, bottom, right), True
    joined = [
        Box(int(top), int(left), int(bottom - top), int(right - left)) for top, left, bottom, right in edges[kept]
    ]
    return sorted(joined, key=_largest_first)


def choose_sides(
    extents: Iterable[int], shapes: Iterable[Sequence[int]], size: int, share: float = LARGEST_SHARE
) -> tuple[int, ...]:
    """Return the sizes of windows that a product needs: none smaller than the model's own, each a half more area.

    Args:
        extents: longer sides of the defects in pixels, at least one.
        shapes: heights and widths of the images; no window is larger than the shorter side of the largest image.
        size: side of the model's pictures in pixels. A smaller window would only be enlarged, so none is, unless every
            image is smaller.
        share: most of a window's side that a defect is to take.

    Returns:
        Sides in pixels, ascending: ``size``, then :data:`STEP` times the one before, until the largest defect fits.
    """
    largest = max(min(int(shape[0]), int(shape[1])) for shape in shapes)
    needed = min(largest, max(extents) / share)
    sides = [float(min(size, largest))]
    while sides[-1] < needed:
        sides.append(min(sides[-1] * STEP, float(largest)))
    return tuple(dict.fromkeys(round(side) for side in sides))


def fitting_side(extent: int, sides: Sequence[int], shape: Sequence[int], share: float = LARGEST_SHARE) -> int:
    """Return the smallest size of windows in which a defect takes at most a share of the side, else the largest.

    Args:
        extent: longer side of the defect in pixels.
        sides: sizes of windows, ascending.
        shape: height and width of the image, which limits them.
        share: see :func:`choose_sides`.
    """
    limit = min(int(shape[0]), int(shape[1]))
    return min(limit, next((side for side in sides if extent <= share * side), sides[-1]))


def window_around(box: Box, side: int, shape: Sequence[int], generator: torch.Generator) -> Window:
    """Return a window that shows a defect, off its centre at random; one that is longer than it is cut anywhere.

    Args:
        box: where the defect is.
        side: wanted side in pixels.
        shape: height and width of the image.
        generator: source of randomness; always two draws.
    """
    side = min(side, int(shape[0]), int(shape[1]))
    draws = torch.rand(2, generator=generator).tolist()
    # From the first to the last start at which the whole of it is inside; for a long defect the other way round.
    starts = [
        first + length - side + draw * (side - length)
        for first, length, draw in ((box.top, box.height, draws[0]), (box.left, box.width, draws[1]))
    ]
    return window(round(starts[0]), round(starts[1]), side, shape)


def scale_pixels(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Scale a picture: by areas where it gets smaller, bicubic where it gets larger.

    Args:
        pixels: ``[H, W]`` or ``[H, W, C]``, uint8 or float32.
        width: new width in pixels.
        height: new height in pixels.

    Returns:
        The same number of dimensions and dtype.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    smaller = height <= pixels.shape[0] and width <= pixels.shape[1]
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return scaled.reshape(height, width, *pixels.shape[2:])


def view(pixels: NDArray[np.uint8], place: Window, size: int) -> NDArray[np.uint8]:
    """Return what the model sees of an image: a window, scaled to its pictures.

    Args:
        pixels: uint8 ``[H, W, 3]``.
        place: the window.
        size: side of the model's pictures in pixels.

    Returns:
        uint8 ``[size, size, 3]``.
    """
    return np.ascontiguousarray(scale_pixels(np.ascontiguousarray(place.cut(pixels)), size, size))


def view_mask(mask: NDArray[np.uint8], place: Window, size: int) -> NDArray[np.uint8]:
    """Return a mask as :func:`view` shows its image; a thin defect survives.

    Args:
        mask: uint8 ``[H, W]`` of 0 and 1.
        place: the window.
        size: side of the model's pictures in pixels.

    Returns:
        uint8 ``[size, size]`` of 0 and 1.
    """
    return resize_mask(np.ascontiguousarray(place.cut(mask)), size, size)


def _largest_first(box: Box) -> tuple[int, int, int]:
    return -box.height * box.width, box.top, box.left


def _are_close(edges: NDArray[np.float64], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return which boxes lie near one, by what lies between them: 0 pixels where they touch or overlap.

    Args:
        edges: top, left, bottom and right of each, ``[N, 4]``.
        box: the same of the one.
    """
    top, left, bottom, right = edges.T
    between = np.maximum.reduce([top - box[2], box[0] - bottom, left - box[3], box[1] - right, np.zeros(len(edges))])
    extents = np.maximum(bottom - top, right - left)
    return np.asarray(between <= TOGETHER * np.maximum(extents, max(box[2] - box[0], box[3] - box[1])))
