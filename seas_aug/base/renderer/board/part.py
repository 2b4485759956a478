# SPDX-License-Identifier: Apache-2.0
"""The power board as it was designed: a brushed aluminium plate, an inlaid laminate, copper tracks. No randomness.

Everything here is the same in every photo and made once per size of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.base.renderer.noise import Field, spectral_noise, streaks

_TRACK_WIDTHS = (12, 16, 12, 24, 12, 16, 30)
_GAP = 26  # pixels between two tracks: as far as a spur reaches
_PAD = 8  # pixels by which a pad is wider than its track, on each side
_TEXTURE = (1536, 2048)


@dataclass(frozen=True)
class Layout:
    """The part straight under the camera, in a picture of ``[H, W]``.

    Attributes:
        part: coverage, uint8 ``[H, W]`` of 0 to 255; not in the holes.
        laminate: coverage of the inlay, in the same way; under the copper too.
        copper: coverage of tracks and pads.
        tone: factor on the metal's brightness, float32 ``[H, W]`` around 1: machined rings, slots, engraving.
        height: relief without the copper, float32 ``[H, W]`` in pixels.
        segments: straight pieces of tracks between their pads, ``[N, 5]``: x, y, x, y of their ends, and their width.
        places: where defects lie, uint8 ``[H, W]`` of 0 and 1, by name: ``part``, ``metal``, ``tracks`` (without pads)
            and ``beside tracks``.
    """

    part: NDArray[np.uint8]
    laminate: NDArray[np.uint8]
    copper: NDArray[np.uint8]
    tone: Field
    height: Field
    segments: NDArray[np.float64]
    places: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def smaller(self) -> float:
        return min(self.width, self.height)

    def corners(self, cut: float) -> NDArray[np.float64]:
        """Return the outline ``[8, 2]`` with its corners cut off."""
        left, top, right, bottom = self.left, self.top, self.right, self.bottom
        points = [(left + cut, top), (right - cut, top), (right, top + cut), (right, bottom - cut)]
        points += [(right - cut, bottom), (left + cut, bottom), (left, bottom - cut), (left, top + cut)]
        return np.asarray(points)


@lru_cache(maxsize=2)
def make_layout(width: int, height: int, scale: float) -> Layout:
    """Lay the board out so that it fills a picture but for a margin.

    Args:
        width: pixels across, at least 192 times ``scale``.
        height: pixels down, at least 192 times ``scale``.
        scale: size of tracks, pads and engraving; a larger picture has more of them.
    """
    shape = (height, width)
    margin = max(0.06 * min(shape), 10 * scale)
    plate = _Box(margin, margin, width - margin, height - margin)
    hole = min(max(0.022 * plate.smaller, 8 * scale), 26 * scale)
    rim = 4.4 * hole  # room for a row of holes along the left and right edges
    inlay = _Box(
        plate.left + rim,
        plate.top + 1.6 * hole + 8 * scale,
        plate.left + 0.62 * plate.width,
        plate.bottom - 1.6 * hole - 8 * scale,
    )
    bare = _Box(inlay.right + 10 * scale, plate.top, plate.right - 0.3 * rim, plate.bottom)
    copper, tracks, segments, vias = _print_tracks(shape, inlay, scale)

    part, laminate = _fill(shape, plate.corners(2 * hole)), _fill(shape, inlay.corners(1.2 * hole))
    tone, relief = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    inset = 2.1 * hole
    for x in (plate.left + inset, plate.right - inset):
        for y in (plate.top + inset, plate.bottom - inset):
            _bore(part, tone, relief, (x, y), hole, 1.75)
    if bare.smaller > 200 * scale:
        centre = (bare.left + bare.width * 0.5, bare.top + bare.height * 0.3)
        _bore(part, tone, relief, centre, 0.19 * bare.smaller, 1.5)
        _slots(tone, relief, bare, scale)
        _engrave(tone, relief, bare, scale)
    _circle(part, (bare.left + bare.width * 0.35, plate.bottom), 0.05 * plate.smaller)  # where it is aligned
    for x, y, radius in vias:
        _circle(part, (x, y), radius)
    inside = cv2.distanceTransform((part > 127).astype(np.uint8), cv2.DIST_L2, 5)
    relief += np.minimum(inside, 4 * scale) * 0.35  # a broken edge
    groove = cv2.GaussianBlur(cv2.morphologyEx(laminate, cv2.MORPH_GRADIENT, _disc(1.5 * scale)), (0, 0), 0.8 * scale)
    relief -= groove.astype(np.float32) / 255 * 1.2 * scale
    return Layout(part, laminate, copper, tone, relief, segments, _places(part, laminate, copper, tracks, scale))


@lru_cache(maxsize=1)
def make_textures() -> tuple[Field, Field]:
    """Return two large textures of mean 0 and deviation 1, of which every photo shows another piece.

    Returns:
        Metal brushed from left to right, and fine grain; float32 ``[1536, 2048]``.
    """
    rng = np.random.default_rng(41)
    transposed = _TEXTURE[::-1]
    fine, broad = streaks(rng, transposed, 34, 0.75), streaks(rng, transposed, 170, 2.2)
    grain = cv2.GaussianBlur(spectral_noise(rng, _TEXTURE, 0.55), (0, 0), 0.7)
    brushed = 0.62 * fine.T + 0.45 * broad.T + 0.35 * grain
    return np.ascontiguousarray(brushed / brushed.std()), grain / grain.std()


def _print_tracks(
    shape: tuple[int, int], inlay: _Box, scale: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64], list[tuple[float, float, float]]]:
    """Return coverage of copper and of tracks alone, the straight pieces of tracks, and the holes in pads."""
    tracks, pads = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    segments: list[tuple[float, ...]] = []
    vias: list[tuple[float, float, float]] = []
    border = min(16 * scale, 0.05 * inlay.smaller)
    blocks = max(1, round(inlay.width / (360 * scale)))
    step = (inlay.width - 2 * border) / blocks
    jog = min(46 * scale, max(inlay.height - 150 * scale, 0) / 2) if step > 250 * scale else 0.0
    for block in range(blocks):
        left = inlay.left + border + block * step
        right = left + step - (10 * scale if block < blocks - 1 else 0)
        down = jog if block % 2 else -jog
        y = group = inlay.top + border + _PAD * scale + max(-down, 0)
        for number in range(1000):
            wide = _TRACK_WIDTHS[(number + 3 * block) % len(_TRACK_WIDTHS)] * scale
            if y + wide + (_PAD * scale + border) + max(down, 0) > inlay.bottom:
                break
            middle = y + wide / 2
            radius = wide / 2 + _PAD * scale
            ends = (left + radius, right - radius)
            # A little earlier or later from track to track, so that the oblique pieces keep their distance.
            bend = (left + 0.4 * step - np.sign(down) * 0.2 * (middle - group), down)
            points = _path(ends, middle, bend)
            if (number + block) % 6 != 5:
                _polyline(tracks, points, wide)
                _pads(pads, points, radius, round_left=(number + block) % 2 == 0)
                vias.append((*points[0], 0.36 * radius))
                segments += _straight(points, wide, radius, scale)
            else:  # test points stand in for a track
                for x in np.arange(left + 2 * radius, right - 2 * radius, 46 * scale):
                    if not bend[0] - 30 * scale < x < bend[0] + abs(down) + 30 * scale:
                        _circle(pads, (x, middle + (down if x > bend[0] else 0)), 7 * scale, 255)
                group = y + wide + _GAP * scale
            y += wide + _GAP * scale
    copper: Field = np.maximum(tracks, pads)
    alone: Field = cv2.subtract(tracks, cv2.dilate(pads, _disc(scale)))
    return copper, alone, np.asarray(segments, np.float64).reshape(-1, 5), vias


def _path(ends: tuple[float, float], y: float, bend: tuple[float, float]) -> NDArray[np.float64]:
    """Return a track ``[N, 2]`` that leaves its line once, at 45 degrees."""
    start, down = bend
    if abs(down) < 4:
        return np.asarray([(ends[0], y), (ends[1], y)])
    return np.asarray([(ends[0], y), (start, y), (start + abs(down), y + down), (ends[1], y + down)])


def _straight(points: NDArray[np.float64], wide: float, radius: float, scale: float) -> list[tuple[float, ...]]:
    """Return the pieces of a track, without what its pads cover, that are long enough for a defect."""
    found = []
    for index, (begin, end) in enumerate(pairwise(points)):
        length = float(np.hypot(*(end - begin)))
        along = (end - begin) / length
        first = begin + along * (radius if index == 0 else 0)
        last = end - along * (radius if index == len(points) - 2 else 0)
        if float(np.dot(last - first, along)) > 24 * scale:
            found.append((*first, *last, wide))
    return found


def _pads(pads: NDArray[np.uint8], points: NDArray[np.float64], radius: float, round_left: bool) -> None:
    _circle(pads, tuple(points[0]), radius, 255)
    x, y = points[-1]
    if round_left:
        _box(pads, _Box(x - radius, y - radius, x + radius, y + radius))
    else:
        _box(pads, _Box(x - 1.6 * radius, y - 0.85 * radius, x + radius, y + 0.85 * radius))


def _places(
    part: NDArray[np.uint8],
    laminate: NDArray[np.uint8],
    copper: NDArray[np.uint8],
    tracks: NDArray[np.uint8],
    scale: float,
) -> dict[str, NDArray[np.uint8]]:
    solid: Field = cv2.erode((part > 127).astype(np.uint8), _disc(4 * scale))
    inlay: Field = (laminate > 127).astype(np.uint8)
    within: Field = cv2.erode(inlay, _disc(3 * scale))
    around: Field = cv2.dilate(inlay, _disc(4 * scale))
    printed = (copper > 127).astype(np.uint8)
    only_tracks = (tracks > 127).astype(np.uint8)
    near: Field = cv2.dilate(only_tracks, _disc((_GAP - 4) * scale))
    return {
        "part": solid,
        "metal": solid & (1 - around),
        "tracks": only_tracks,
        "beside tracks": near & within & (1 - printed) & solid,
    }


def _bore(
    part: NDArray[np.uint8], tone: Field, relief: Field, centre: tuple[float, float], radius: float, ring: float
) -> None:
    """Cut a hole with a turned ring around it."""
    reach = int(radius * ring * 1.2) + 3
    rows = slice(max(int(centre[1]) - reach, 0), int(centre[1]) + reach)
    columns = slice(max(int(centre[0]) - reach, 0), int(centre[0]) + reach)
    y, x = np.mgrid[rows, columns].astype(np.float32)[:, : part.shape[0] - rows.start, : part.shape[1] - columns.start]
    distance = np.hypot(x - centre[0], y - centre[1])
    turned = np.clip(radius * ring - distance + 0.5, 0, 1)
    marks = 0.05 * np.sin(distance * 1.3) + 0.04 * np.sin(distance * 0.47 + 1)
    tone[rows, columns] *= 1 + turned * (marks - 0.14)
    relief[rows, columns] -= np.clip((radius * ring - distance) / 3, 0, 1) * 1.6
    _circle(part, centre, radius)


def _slots(tone: Field, relief: Field, bare: _Box, scale: float) -> None:
    """Mill a row of slots."""
    shape = (tone.shape[0], tone.shape[1])
    milled = np.zeros(shape, np.uint8)
    half = max(0.016 * bare.smaller, 5 * scale)
    for number in range(4):
        y = bare.top + bare.height * 0.66 + number * 4.4 * half
        ends = np.asarray([(bare.left + 0.2 * bare.width, y), (bare.right - 0.2 * bare.width, y)])
        _polyline(milled, ends, 2 * half)
    cover = milled.astype(np.float32) / 255
    tone *= 1 - 0.42 * cover
    relief -= cv2.GaussianBlur(cover, (0, 0), 1.2 * scale) * 4 * scale


def _engrave(tone: Field, relief: Field, bare: _Box, scale: float) -> None:
    """Engrave a part number."""
    text = np.zeros(tone.shape, np.uint8)
    size = bare.width / 330
    thickness = max(1, round(size * 2.2))
    for line, words in enumerate(("PM 128-07", "AlMg3 LOT 41")):
        at = (round(bare.left + 0.2 * bare.width), round(bare.top + bare.height * (0.54 + 0.05 * line)))
        cv2.putText(text, words, at, cv2.FONT_HERSHEY_SIMPLEX, size * (1 - 0.3 * line), 255, thickness, cv2.LINE_AA)
    cover = cv2.GaussianBlur(text, (0, 0), 0.7 * scale).astype(np.float32) / 255
    tone *= 1 - 0.35 * cover
    relief -= cover


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(points * 16).astype(np.int32)


def _fill(shape: tuple[int, int], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [_fixed(points)], 255, cv2.LINE_AA, shift=4)
    return canvas


def _box(canvas: NDArray[np.uint8], box: _Box) -> None:
    cv2.fillPoly(canvas, [_fixed(box.corners(0.15 * box.smaller))], 255, cv2.LINE_AA, shift=4)


def _polyline(canvas: NDArray[np.uint8], points: NDArray[np.float64], wide: float) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, 255, max(2, round(wide)), cv2.LINE_AA, shift=4)


def _circle(canvas: NDArray[np.uint8], centre: tuple[float, ...], radius: float, value: int = 0) -> None:
    x, y = _fixed(np.asarray(centre, np.float64)).tolist()
    cv2.circle(canvas, (x, y), round(radius * 16), value, -1, cv2.LINE_AA, shift=4)
