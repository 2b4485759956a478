# SPDX-License-Identifier: Apache-2.0
"""Step 5 of drawing: pairs that look wrong are rejected, each with its reason.

The limits are the extremes of the few-shot defects, widened: from eight defects a bare range would reject one in five
real ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.config import DrawConfig
from seas_aug.data.surroundings import ring
from seas_aug.data.windows import defect_boxes
from seas_aug.draw.few_shot import FewShotDefects

Reason = Literal[
    "no place", "empty mask", "mask too small", "mask too large", "change outside the mask", "nothing to see",
    "off the part", "seam", "other size", "other count",
]  # fmt: skip
_WIDER = 4.0  # times smaller or larger than the smallest or largest few-shot defect of the type
LEAST_FOUND = 0.4
"""Least share of the shape that was asked for."""
_SIZE_OFF, _SIZE_OFF_PIXELS = 0.1, 2  # share, or pixels, by which an extent may miss the size that was asked for
_MOST_FOUND = 3.0  # times the same
_VISIBLE = 2.0  # grey levels, of the mean change in the mask
_CHANGED = 0.5  # least share of a mask's pixels that is changed at all
_AT_ALL = 1.0  # grey levels
_OUTSIDE = 0.25  # share of all change that may lie outside the mask and its rim
_RIM = 2  # pixels around a mask that fade into the reference
_RING = 8  # pixels
_ELSEWHERE = 0.12  # mean colour, in [0, 1], by which surroundings may differ more than few-shot ones do
_SEAM = 0.6  # of the change in the mask: change that was drawn right outside of it, and cut off


@dataclass(frozen=True, eq=False)
class Candidate:
    """A drawn pair before it is accepted, the part of the images around the defect.

    Attributes:
        image: uint8 ``[H, W, 3]``.
        reference: uint8 ``[H, W, 3]``.
        mask: uint8 ``[H, W]`` of 0 and 1.
        anomaly_types: types in it.
        wanted: area in pixels that was asked for; None where the shape was free.
        cut_off: change right outside the mask that was drawn and not taken over, as a share of that inside.
    """

    image: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    anomaly_types: tuple[str, ...]
    wanted: int | None = None
    cut_off: float = 0.0


@dataclass(frozen=True)
class GateLimits:
    """What the few-shot defects of each type are like.

    Attributes:
        areas: least and most area of a type's defects in pixels.
        surroundings: mean colours in [0, 1] around each defect of a type.
        spread: how far the surroundings of one few-shot defect are from the nearest other one's, at most.
    """

    areas: dict[str, tuple[int, int]]
    surroundings: dict[str, tuple[tuple[float, ...], ...]]
    spread: dict[str, float]

    @classmethod
    def of(cls, few_shot: FewShotDefects) -> GateLimits:
        """Measure the few-shot defects of a model."""
        areas: dict[str, tuple[int, int]] = {}
        around: dict[str, list[tuple[float, ...]]] = {}
        for image, mask, name in zip(few_shot.images, few_shot.masks, few_shot.anomaly_types, strict=True):
            marked = int(mask.sum())
            low, high = areas.get(name, (marked, marked))
            areas[name] = (min(low, marked), max(high, marked))
            around.setdefault(name, []).append(_mean_around(image, mask))
        for defect in few_shot.defects:  # of several defects in an image, one alone may be drawn
            size = int(defect.box.cut(few_shot.masks[defect.member]).sum())
            low, high = areas[defect.anomaly_type]
            areas[defect.anomaly_type] = (min(low, size), high)
        spread = {name: _largest_gap(colours) for name, colours in around.items()}
        return cls(areas, {name: tuple(colours) for name, colours in around.items()}, spread)


def check_pair_looks_right(candidate: Candidate, limits: GateLimits | None) -> list[Reason]:
    """Return why a pair is rejected; an empty list for one that is accepted.

    Args:
        candidate: the pair.
        limits: of the few-shot defects; None checks nothing that needs them.
    """
    mask = candidate.mask
    area = int(mask.sum())
    if area == 0:
        return ["empty mask"]
    reasons: list[Reason] = []
    known = [] if limits is None else [name for name in candidate.anomaly_types if name in limits.areas]
    if limits is not None and known and candidate.wanted is None:
        if area < min(limits.areas[name][0] for name in known) / _WIDER:
            reasons.append("mask too small")
        if area > sum(limits.areas[name][1] for name in known) * _WIDER:
            reasons.append("mask too large")
    if candidate.wanted is not None:
        reasons += ["mask too small"] if area < LEAST_FOUND * candidate.wanted else []
        reasons += ["mask too large"] if area > _MOST_FOUND * candidate.wanted + 4 * _around_length(mask) else []
    change = _change(candidate.image, candidate.reference)
    inside, outside = change[mask > 0], change[cv2.dilate(mask, _square(_RIM)) == 0]
    if float(inside.mean()) < _VISIBLE or float((inside > _AT_ALL).mean()) < _CHANGED:
        reasons.append("nothing to see")
    if float(outside.sum()) > _OUTSIDE * float(change.sum()) and float(outside.max(initial=0)) > _VISIBLE:
        reasons.append("change outside the mask")
    if candidate.cut_off > _SEAM:
        reasons.append("seam")
    if limits is not None and known and all(_is_elsewhere(candidate, limits, name) for name in known):
        reasons.append("off the part")
    return reasons


def held_size(size: tuple[float, float]) -> tuple[float, float]:
    """Return the least and the most extent in pixels that pass for a size that was asked for."""
    low, high = size
    return min(low * (1 - _SIZE_OFF), low - _SIZE_OFF_PIXELS), max(high * (1 + _SIZE_OFF), high + _SIZE_OFF_PIXELS)


def check_size_and_count(mask: NDArray[np.uint8], settings: DrawConfig, num_types: int) -> list[Reason]:
    """Return whether the defects of a mask are not as large or as many as the user asked for.

    Args:
        mask: uint8 ``[H, W]`` of 0 and 1, of the whole image.
        settings: ``size``, to within a tenth (2 pixels at least), since where a defect ends is not exactly known, and
            ``count``; what is not asked for is not looked at.
        num_types: anomaly types in the image; defects of several lie together, as one or apart, so that only the least
            size can be held.
    """
    reasons: list[Reason] = []
    if settings.size is None and settings.counts[1] == 1:
        return reasons
    boxes = defect_boxes(mask)
    if settings.size is not None:
        low, high = held_size(settings.size)
        high = high if num_types == 1 else math.inf
        reasons += [] if all(low <= box.extent <= high for box in boxes) else ["other size"]
    least, most = settings.counts
    if most > 1 and not least <= len(boxes) <= most * num_types:
        reasons.append("other count")
    return reasons


def _is_elsewhere(candidate: Candidate, limits: GateLimits, name: str) -> bool:
    own = np.asarray(_mean_around(candidate.reference, candidate.mask))
    nearest = min(float(np.abs(own - colour).max()) for colour in limits.surroundings[name])
    return nearest > limits.spread[name] + _ELSEWHERE


def _mean_around(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[float, ...]:
    """Return the mean colour around a mask in [0, 1]; of the whole picture where nothing surrounds it."""
    around = ring(np.ascontiguousarray(mask), _RING) > 0
    pixels = image[around] if around.any() else image.reshape(-1, 3)
    return tuple(float(value) / 255 for value in pixels.mean(axis=0))


def _largest_gap(colours: list[tuple[float, ...]]) -> float:
    points = np.asarray(colours)
    if len(points) < 2:
        return 0.0
    gaps = np.abs(points[:, None] - points[None]).max(axis=-1) + np.eye(len(points)) * 9
    return float(gaps.min(axis=1).max())


def _change(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean absolute difference of the channels after a 3 x 3 box, ``[H, W]`` in grey levels."""
    difference = cv2.blur(image.astype(np.float32), (3, 3)) - cv2.blur(reference.astype(np.float32), (3, 3))
    return np.asarray(np.abs(difference).mean(axis=-1), dtype=np.float32)


def _around_length(mask: NDArray[np.uint8]) -> int:
    return int((cv2.dilate(mask, _square(1)) - mask).sum())


def _square(reach: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
