# SPDX-License-Identifier: Apache-2.0
"""Step 2 of drawing: where on the whole image a defect goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.data.backdrop import find_backdrop
from seas_aug.data.surroundings import misfit_map, ring
from seas_aug.data.windows import Box, scale_pixels
from seas_aug.draw.shape import Shape, scaled

FITS = 0.3
"""Share of difference of the surroundings up to which a place fits."""
_TOLERATED = 1.2  # times the least difference, where nothing fits, as on gravel
_NEARNESS = 0.15  # share of difference that a place as far away as the image is large may save
_SEARCHED = 320  # pixels: the search goes over the image made so small
_SMALLEST = 8.0  # pixels that a defect with its surroundings keeps in it
_BESIDE = 0.15  # share of a defect that may lie beside the part, beyond that of the few-shot defect
_TRIED = 64  # places that a region is tried with, from the nearest one on


class Place(NamedTuple):
    """Where a defect goes.

    Args:
        misfit: share of difference of the surroundings, 0 to 1; where there is no room on the part, the share of the
            defect that leaves it adds to it.
        top: row of the upper left corner of its mask's box.
        left: column of the same.
    """

    misfit: float
    top: int
    left: int


@dataclass(frozen=True, eq=False)
class Surface:
    """An image to put defects on.

    Attributes:
        pixels: uint8 ``[H, W, 3]``.
        allowed: uint8 ``[H, W]`` of 0 and 1, where defects may lie; None for anywhere.
        by_user: the user said so, and defects may leave their part; else they keep to it.
    """

    pixels: NDArray[np.uint8]
    allowed: NDArray[np.uint8] | None = None
    by_user: bool = True

    def only_in(self, area: NDArray[np.uint8]) -> Surface:
        """Return the surface with defects in a part of what was allowed.

        Args:
            area: uint8 ``[H, W]`` of 0 and 1.
        """
        allowed = area if self.allowed is None else self.allowed * area
        smaller = Surface(self.pixels, allowed, self.by_user and self.allowed is not None)
        if "backdrop" in self.__dict__:  # it is searched once for an image
            smaller.__dict__["backdrop"] = self.backdrop
        return smaller

    @property
    def keeps_to_part(self) -> bool:
        """Whether defects may not leave their part."""
        return self.allowed is None or not self.by_user

    @cached_property
    def backdrop(self) -> NDArray[np.uint8] | None:
        """Where no part is, uint8 ``[h, w]`` of 0 and 1, made smaller; None where there is no backdrop."""
        return find_backdrop(self.pixels)


def fitted_to(shape: Shape, height: int, width: int) -> Shape:
    """Return a shape that an image has room for; one that reached from border to border does so here, too.

    Args:
        shape: any.
        height: rows of the image.
        width: columns of the image.
    """
    factors = []
    for side, (room, length) in enumerate(((height, shape.height), (width, shape.width))):
        across = shape.touches[side] and shape.touches[side + 2]
        factors.append(room / length if across or length > room else 1.0)
    return shape if factors == [1.0, 1.0] else scaled(shape, *factors)


def find_place(shape: Shape, surface: Surface, anchor: tuple[float, float]) -> Place | None:
    """Return a place near a point whose surroundings look like the defect's own.

    The whole image is searched, made smaller, and the place then refined at full size
    (:func:`~seas_aug.data.surroundings.misfit`). A defect at a border stays at that border, and one of a part stays
    on the part (:mod:`~seas_aug.data.backdrop`), unless the user says where defects may lie.

    Args:
        shape: no larger than the image (:func:`fitted_to`).
        surface: image, and where defects may lie.
        anchor: wanted row and column as shares of what is possible, each in [0, 1].

    Returns:
        The place, or None where ``allowed`` has no room for the shape.
    """
    height, width = surface.pixels.shape[:2]
    rows = _range(shape.touches[0], shape.touches[2], height - shape.height)
    columns = _range(shape.touches[1], shape.touches[3], width - shape.width)
    weight = ring(shape.mask, max(2, shape.margin - 2)) * shape.known
    factor = min(1.0, max(_SEARCHED / max(height, width), _SMALLEST / min(shape.mask.shape)))
    coarse = _Search(surface, shape, weight, factor)
    for top, left, beside in coarse.candidates(rows, columns, anchor):
        place = _refined(shape, weight, surface, (top, left), rows, columns, 0 if factor == 1 else round(1 / factor))
        if place is not None:
            return place._replace(misfit=place.misfit + beside)
    return None


class _Search:
    """The misfit of every place of an image made smaller."""

    def __init__(self, surface: Surface, shape: Shape, weight: NDArray[np.uint8], factor: float) -> None:
        self.factor = factor
        height, width = surface.pixels.shape[:2]
        self.margin = max(1, round(shape.margin * factor))
        small = (max(1, round(height * factor)), max(1, round(width * factor)))
        size = (max(1, round(shape.height * factor)), max(1, round(shape.width * factor)))
        size = (min(size[0], small[0]), min(size[1], small[1]))
        patch = (size[0] + 2 * self.margin, size[1] + 2 * self.margin)
        image = _wide(_floats(surface.pixels, small), self.margin)
        template = _floats(shape.texture, patch)
        around = (scale_pixels(weight.astype(np.float32), patch[1], patch[0]) > 0.5).astype(np.float32)
        self.found = (
            misfit_map(image, template, around)
            if around.any()
            else np.zeros((small[0] - size[0] + 1, small[1] - size[1] + 1), np.float32)
        )
        marked = scale_pixels(_inner(shape).astype(np.float32), size[1], size[0])
        self.beside = np.zeros_like(self.found)  # share of the defect that would leave its part
        if shape.on_backdrop < 1 and surface.keeps_to_part and surface.backdrop is not None:
            bare = scale_pixels(surface.backdrop.astype(np.float32), small[1], small[0])
            self.beside = np.maximum(_share_of(bare, marked) - shape.on_backdrop - _BESIDE, 0)
        if surface.allowed is not None:
            inside = scale_pixels(surface.allowed.astype(np.float32), small[1], small[0])
            outside = _share_of(1 - inside, marked)
            # What is nearly inside may be so after the last shift.
            self.found = np.where(outside < (0.5 if factor < 1 else 1e-4), self.found + outside, np.inf)

    def candidates(
        self, rows: tuple[int, int], columns: tuple[int, int], anchor: tuple[float, float]
    ) -> list[tuple[int, int, float]]:
        """Return places that fit, at full size, from the one that is best and near the anchor on.

        Each with the share of the defect that leaves its part, which is 0 wherever there is room on the part.
        """
        found = np.full_like(self.found, np.inf)
        limits = [
            slice(min(int(low * self.factor), size - 1), min(int(high * self.factor), size - 1) + 1)
            for (low, high), size in zip((rows, columns), found.shape, strict=True)
        ]
        found[limits[0], limits[1]] = self.found[limits[0], limits[1]]
        if not np.isfinite(found).any():
            return []
        kept = np.isfinite(found) & (self.beside == 0)
        found = np.where(kept, found, np.inf) if kept.any() else found + self.beside
        fits = np.nonzero(found <= max(FITS, _TOLERATED * float(found.min())))
        wanted = [
            limit.start + share * (limit.stop - 1 - limit.start) for limit, share in zip(limits, anchor, strict=True)
        ]
        far = np.hypot((fits[0] - wanted[0]) / found.shape[0], (fits[1] - wanted[1]) / found.shape[1])
        order = np.argsort(found[fits] + _NEARNESS * far, kind="stable")[:_TRIED]
        places = [(int(fits[0][one]), int(fits[1][one])) for one in order]
        return [
            (round(row / self.factor), round(col / self.factor), float(self.beside[row, col])) for row, col in places
        ]


def _refined(
    shape: Shape,
    weight: NDArray[np.uint8],
    surface: Surface,
    start: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
    reach: int,
) -> Place | None:
    """Return the best place within ``reach`` pixels of one, at full size; None where none is allowed."""
    (low, high), (left_most, right_most) = (
        (max(first, min(at - reach, last)), max(first, min(at + reach, last)))
        for at, (first, last) in zip(start, (rows, columns), strict=True)
    )
    places = [(top, left) for top in range(low, high + 1) for left in range(left_most, right_most + 1)]
    allowed = [surface.allowed is None or not _leaves(shape, surface.allowed, top, left) for top, left in places]
    if not any(allowed):  # known before anything is compared, since a narrow region fails often
        return None
    part = Box(low, left_most, high - low + shape.height, right_most - left_most + shape.width)
    margin = shape.margin
    shown = _around(surface.pixels, part, margin)
    if weight.any():
        found = misfit_map(shown, _floats(shape.texture, shape.mask.shape), weight.astype(np.float32))
    else:
        found = np.zeros((high - low + 1, right_most - left_most + 1), np.float32)
    best = int(np.where(allowed, found.ravel(), np.inf).argmin())
    return Place(float(found.flat[best]), *places[best])


def _share_of(area: NDArray[np.float32], marked: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share of a defect that lies in an area, at each place."""
    return np.asarray(cv2.matchTemplate(area, marked, cv2.TM_CCORR) / max(float(marked.sum()), 1e-6))


def _leaves(shape: Shape, allowed: NDArray[np.uint8], top: int, left: int) -> bool:
    return bool((_inner(shape) > Box(top, left, shape.height, shape.width).cut(allowed)).any())


def _inner(shape: Shape) -> NDArray[np.uint8]:
    return np.ascontiguousarray(shape.mask[shape.margin : -shape.margin, shape.margin : -shape.margin])


def _range(first: bool, last: bool, room: int) -> tuple[int, int]:
    """Return the first and last start along a side, for a shape that belongs to none, one or both of its borders."""
    if first == last:
        return 0, room
    return (0, 0) if first else (room, room)


def _floats(pixels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.float32]:
    return scale_pixels(pixels, size[1], size[0]).astype(np.float32) / np.float32(255)


def _wide(image: NDArray[np.float32], margin: int) -> NDArray[np.float32]:
    kind = cv2.BORDER_REFLECT_101 if margin < min(image.shape[:2]) else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(image, margin, margin, margin, margin, kind))


def _around(pixels: NDArray[np.uint8], part: Box, margin: int) -> NDArray[np.float32]:
    """Return a part of an image with a margin, which mirrors the image where it ends."""
    height, width = pixels.shape[:2]
    top, left = max(0, part.top - margin), max(0, part.left - margin)
    bottom, right = min(height, part.top + part.height + margin), min(width, part.left + part.width + margin)
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    missing = (
        margin - (part.top - top),
        margin - (bottom - part.top - part.height),
        margin - (part.left - left),
        margin - (right - part.left - part.width),
    )
    kind = cv2.BORDER_REFLECT_101 if max(missing) < min(cut.shape[:2]) else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(cut, *missing, kind), dtype=np.float32) / np.float32(255)
