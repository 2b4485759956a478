# SPDX-License-Identifier: Apache-2.0
"""From a seed to what is to be drawn: shapes, their places on the whole image, and the windows that show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.config import DrawConfig
from seas_aug.data.paste import paste_defect
from seas_aug.data.seeds import derive_seed
from seas_aug.data.windows import TOGETHER, Box, Window, defect_boxes, fitting_side, window, window_around
from seas_aug.draw.few_shot import FewShotDefects
from seas_aug.draw.place import FITS, Place, Surface, find_place, fitted_to
from seas_aug.draw.shape import Shape, cut_shape, propose_shape, with_mask

_UPRIGHT, _TURNED = 3, 6  # shapes that are tried until one fits; then as many that are turned by any angle
_WORTH = 0.2  # share of difference that turning has to save, where nothing fits
_OVERLAP = 0.25  # of a window's side, where a defect takes several
_APART = 4  # pixels between the defects of an image, at least
_NORMAL_WINDOWS = 9  # at most, of a normal image that is redrawn


@dataclass(frozen=True, eq=False)
class Spot:
    """Defects that are drawn together, and where.

    Attributes:
        shapes: one per anomaly type.
        places: of each.
        windows: what is drawn one after the other; more than one where a defect is longer than the largest window.
    """

    shapes: tuple[Shape, ...]
    places: tuple[Place, ...]
    windows: tuple[Window, ...]

    def area(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return where the defects are, uint8 ``[H, W]`` of 0 and 1."""
        marked = np.zeros((height, width), np.uint8)
        for shape, place in zip(self.shapes, self.places, strict=True):
            inner = shape.mask[shape.margin : -shape.margin, shape.margin : -shape.margin]
            box = Box(place.top, place.left, shape.height, shape.width)
            box.cut(marked)[:] |= inner
        return marked


@dataclass(frozen=True, eq=False)
class Composer:
    """What decides where defects go; the same for all images of a call.

    Attributes:
        few_shot: of the model; None where it has none, so that the whole image is the window.
        types: anomaly types of each spot.
        sides: sizes of windows in pixels, ascending; none where the whole image is the window.
        settings: count, size and severity.
    """

    few_shot: FewShotDefects | None
    types: tuple[str, ...]
    sides: tuple[int, ...]
    settings: DrawConfig

    def spots(self, seed: int, surface: Surface) -> list[Spot]:
        """Return the spots of one image; none where there is no room for a defect.

        Args:
            seed: of the noise. The places that are tried depend on it alone, not on the type.
            surface: the reference, and where defects may lie.
        """
        generator = torch.Generator().manual_seed(derive_seed(seed, "place"))
        low, high = self.settings.counts
        count = int(torch.randint(low, high + 1, (), generator=generator))
        anchors = torch.rand((count, 2), generator=generator).tolist()
        found: list[Spot] = []
        free = surface
        for number, anchor in enumerate(anchors):
            chance = torch.Generator().manual_seed(derive_seed(seed, "shape", number))
            spot = self._spot(free, (anchor[0], anchor[1]), chance)
            if spot is None:
                return []
            found.append(spot)
            if number + 1 < count:
                free = self._far_from(free, spot)
        if count > 1:  # where they lie close together they are one defect
            marked = np.maximum.reduce([spot.area(*surface.pixels.shape[:2]) for spot in found])
            return found if len(defect_boxes(marked)) >= count else []
        return found

    def spots_of_mask(self, seed: int, surface: Surface, mask: NDArray[np.uint8]) -> list[Spot]:
        """Return the spots of a mask that the user gave.

        Args:
            seed: of the noise.
            surface: the reference.
            mask: uint8 ``[H, W]`` of 0 and 1, of its size, not empty.
        """
        found = []
        for number, box in enumerate(reversed(defect_boxes(mask))):
            generator = torch.Generator().manual_seed(derive_seed(seed, "shape", number))
            name = self.types[number % len(self.types)]
            members = [] if self.few_shot is None else self.few_shot.of_type(name)
            own = np.ascontiguousarray(box.cut(mask))
            if self.few_shot is None or not members:
                shape = _plain(own, name)
            else:
                chosen = members[int(torch.randint(len(members), (), generator=generator))]
                shape = with_mask(cut_shape(self.few_shot, chosen), own)
            place = Place(0.0, box.top, box.left)
            found.append(Spot((shape,), (place,), self._windows(box, surface, generator)))
        return found

    def normal_windows(self, seed: int, surface: Surface) -> list[Spot]:
        """Return the windows of a normal image that is redrawn: all over it, or some at random of a large one.

        Args:
            seed: of the noise.
            surface: the reference.
        """
        height, width = surface.pixels.shape[:2]
        if not self.sides:
            return [Spot((), (), (_whole(surface),))]
        generator = torch.Generator().manual_seed(derive_seed(seed, "place"))
        windows = _windows_over(Box(0, 0, height, width), min(self.sides[-1], height, width), surface)
        order = torch.randperm(len(windows), generator=generator).tolist()[:_NORMAL_WINDOWS]
        return [Spot((), (), tuple(windows[one] for one in sorted(order)))]

    def _far_from(self, surface: Surface, spot: Spot) -> Surface:
        """Return a surface whose next defect is no part of this one (:func:`~seas_aug.data.windows.defect_boxes`)."""
        largest = max(shape.extent for shape in spot.shapes)
        reach = math.ceil(TOGETHER * max(largest, self.settings.size[1] if self.settings.size else 0)) + 1
        reach, free = max(_APART, reach), np.ones(surface.pixels.shape[:2], np.uint8)
        for shape, place in zip(spot.shapes, spot.places, strict=True):
            rows = slice(max(0, place.top - reach), place.top + shape.height + reach)
            free[rows, max(0, place.left - reach) : place.left + shape.width + reach] = 0
        return surface.only_in(free)

    def _spot(self, surface: Surface, anchor: tuple[float, float], generator: torch.Generator) -> Spot | None:
        if self.few_shot is None:
            return Spot((), (), (_whole(surface),))
        first = self._fitting(self.types[0], surface, anchor, generator)
        if first is None:
            return None
        shape, place = first
        windows = self._windows(Box(place.top, place.left, shape.height, shape.width), surface, generator)
        shapes, places = [shape], [place]
        for name in self.types[1:]:  # in the same window, where both prompts' words are heard
            near = _only_in(surface, windows[0], Spot(tuple(shapes), tuple(places), ()))
            other = self._fitting(name, near, anchor, generator, room=windows[0])
            if other is None:
                return None
            shapes.append(other[0])
            places.append(other[1])
        return Spot(tuple(shapes), tuple(places), windows)

    def _fitting(
        self,
        name: str,
        surface: Surface,
        anchor: tuple[float, float],
        generator: torch.Generator,
        room: Window | None = None,
    ) -> tuple[Shape, Place] | None:
        """Return the first of some random shapes of a type that fits somewhere, or the one that fits best."""
        assert self.few_shot is not None  # noqa: S101 - the callers look
        height, width = (room.side // 2, room.side // 2) if room else surface.pixels.shape[:2]
        best: tuple[Shape, Place] | None = None
        for number in range(_UPRIGHT + _TURNED):
            shape = propose_shape(self.few_shot, name, self.settings, generator, turn=number >= _UPRIGHT)
            shape = fitted_to(shape, height, width)
            place = find_place(shape, surface, anchor)
            # On a grain, a turned defect has to fit much better to be worth it.
            worse = _WORTH if number >= _UPRIGHT and place is not None and place.misfit > FITS else 0.0
            if place is not None and (best is None or place.misfit + worse < best[1].misfit):
                best = shape, place
                if place.misfit <= FITS:
                    break
        return best

    def _windows(self, box: Box, surface: Surface, generator: torch.Generator) -> tuple[Window, ...]:
        if not self.sides:
            return (_whole(surface),)
        shape = surface.pixels.shape
        side = fitting_side(box.extent, self.sides, shape)
        if box.extent <= side:
            return (window_around(box, side, shape, generator),)
        return _windows_over(box, side, surface)


def put_copies(image: NDArray[np.uint8], spot: Spot, severity: float) -> NDArray[np.uint8]:
    """Return an image with a copied few-shot defect at each place of a spot.

    Args:
        image: uint8 ``[H, W, 3]``.
        spot: where, and of what.
        severity: contrast against the image, 1 for what the few-shot defect has.
    """
    result = image.copy()
    for shape, place in zip(spot.shapes, spot.places, strict=True):
        margin = shape.margin
        top, left = max(0, place.top - margin), max(0, place.left - margin)
        bottom = min(image.shape[0], place.top + shape.height + margin)
        right = min(image.shape[1], place.left + shape.width + margin)
        rows = slice(top - place.top + margin, bottom - place.top + margin)
        columns = slice(left - place.left + margin, right - place.left + margin)
        under = result[top:bottom, left:right]
        parts = (shape.texture[rows, columns], shape.mask[rows, columns, None], under)
        texture, mask, normal = (torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1) for part in parts)
        pasted = paste_defect(texture / 255, mask, normal / 255).permute(1, 2, 0).numpy() * 255
        stronger = under + severity * (pasted - under)
        result[top:bottom, left:right] = np.clip(np.rint(stronger), 0, 255).astype(np.uint8)
    return result


def _whole(surface: Surface) -> Window:
    return window(0, 0, max(surface.pixels.shape[:2]), surface.pixels.shape)


def _windows_over(box: Box, side: int, surface: Surface) -> tuple[Window, ...]:
    """Return overlapping windows that cover a box."""
    starts = []
    for first, length in ((box.top, box.height), (box.left, box.width)):
        more = max(0, math.ceil((length - side) / (side * (1 - _OVERLAP))))
        step = (length - side) / more if more else 0.0
        start = first if more else first - (side - length) / 2
        starts.append([round(start + index * step) for index in range(more + 1)])
    windows = [window(top, left, side, surface.pixels.shape) for top in starts[0] for left in starts[1]]
    return tuple(dict.fromkeys(windows))


def _plain(mask: NDArray[np.uint8], name: str) -> Shape:
    """Return a shape of which nothing is known but its outline."""
    margin = 2
    marked = np.pad(mask, margin)
    grey = np.full((*marked.shape, 3), 127, np.uint8)
    return Shape(marked, grey, np.zeros_like(marked), margin, name, "")


def _only_in(surface: Surface, place: Window, spot: Spot) -> Surface:
    """Return a surface on which only the rest of a window is allowed, a little away from what is there."""
    taken = cv2.dilate(spot.area(*surface.pixels.shape[:2]), np.ones((2 * _APART + 1, 2 * _APART + 1), np.uint8))
    inside = np.zeros(surface.pixels.shape[:2], np.uint8)
    place.cut(inside)[:] = 1
    return surface.only_in(inside * (taken == 0).astype(np.uint8))
