# SPDX-License-Identifier: Apache-2.0
"""Does the defect end where its mask ends? Change against normal texture by the distance from the mask's edge.

What fails: a mask beside its defect, by 8 pixels. Hand-drawn masks of real defects leak 0.56 on one product.

The leak is that of the worst of eight directions, each weighing the edge by how much it faces there. Over all sides
a wide mask that is displaced leaks on one side alone, and the others make up for it: noise in the masks of
magnetic_tile, shifted by 8 pixels, leaked 0.50 over all sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import bootstrap
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_difference import signed_distances, smoothed_difference
from seas_aug.evaluate.window_set import Images, pick

_INSIDE, _OUTSIDE = -2, 3  # pixels from the edge
_DISTANCES = (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)
_DIRECTIONS = 8
_LEAST = 10  # pairs whose masks are wide enough
Floats = NDArray[np.float32]


def edge_normals(masks: NDArray[np.uint8]) -> Floats:
    """Return the direction away from the mask at each pixel, float32 ``[2, N, S, S]``: down and right, of length 1."""
    normals = []
    for distance in signed_distances(masks):
        smooth = cv2.GaussianBlur(distance, (0, 0), 1.0)
        down, right = cv2.Sobel(smooth, cv2.CV_32F, 0, 1), cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
        length = np.maximum(np.hypot(down, right), 1e-6)
        normals.append(np.stack([down / length, right / length]))
    return np.stack(normals, axis=1)


def edge_profile(change: Floats, distances: Floats, distance: int, facing: Floats | None = None) -> NDArray[np.float64]:
    """Return the mean change of each pair at a signed distance from its mask's edge, ``[N]``; NaN where there is none.

    Args:
        change: ``[N, S, S]`` in grey levels.
        distances: of each pixel from the edge, ``[N, S, S]``, below 0 inside.
        distance: pixels; half a pixel to either side is taken.
        facing: weights of the pixels, ``[N, S, S]``; None weighs them equally.
    """
    band = np.abs(distances - distance) <= 0.5
    weights = band.astype(np.float64) if facing is None else band * facing
    count = weights.sum((1, 2))
    return np.where(count > 0.5, (change * weights).sum((1, 2)) / np.maximum(count, 0.5), np.nan)


def mask_exact(
    drawn: Images, null: Images, null_other: Images, masks: NDArray[np.uint8], groups: Sequence[str]
) -> Measured:
    """Return the leak p(+3) / p(-2) of the profile p(r) of abs(drawn - null') - abs(null - null').

    Both are taken over the same pairs, those whose masks have pixels two from their edge: a mask of one or two pixels'
    width has no inside.

    Args:
        drawn: uint8 ``[N, S, S, 3]``.
        null: normal fills of the same holes, likewise.
        null_other: the same with another seed.
        masks: uint8 ``[N, S, S]`` of 0 and 1.
        groups: group of each.

    Returns:
        ``value``: the leak of the worst direction, lower is better; None where p(-2) of the whole edge is not above 0
        beyond doubt. ``extra``: ``all_sides``, the leak of the whole edge; ``profile`` by distance and ``inside``,
        p(-2) with its interval, in grey levels.
    """
    change = smoothed_difference(drawn, null_other, 1) - smoothed_difference(null, null_other, 1)
    distances, profile = signed_distances(masks), {}
    for distance in _DISTANCES:
        values = edge_profile(change, distances, distance)
        profile[str(distance)] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    inner, outer = (edge_profile(change, distances, distance) for distance in (_INSIDE, _OUTSIDE))
    rows = np.flatnonzero(np.isfinite(inner) & np.isfinite(outer))
    if len(rows) < _LEAST:
        return not_measured(f"{len(rows)} masks are wide enough, fewer than {_LEAST}", len(drawn), profile=profile)
    inner, outer = inner[rows], outer[rows]
    chosen = pick(groups, rows)
    inside = bootstrap([chosen], lambda index: float(inner[index].mean()))
    figures = {"profile": profile, "inside": inside._asdict(), "all_sides": float(outer.mean() / inner.mean())}
    if not inside.low > 0:
        reason = f"nothing changes inside the masks: {inside.value:.1f} grey levels ({inside.low:.1f} at least)"
        return not_measured(reason, len(rows), **figures)
    normals = edge_normals(masks)
    sides = []
    for number in range(_DIRECTIONS):
        angle = 2 * math.pi * number / _DIRECTIONS
        facing = np.maximum(0, normals[0] * math.cos(angle) + normals[1] * math.sin(angle))
        sides.append([edge_profile(change, distances, r, facing)[rows] for r in (_INSIDE, _OUTSIDE)])
    profiles = np.asarray(sides)  # [directions, inside and outside, pairs]

    def leak(index: NDArray[np.int64]) -> float:
        means = np.nanmean(profiles[:, :, index], axis=2)
        # A direction in which nothing changes inside does not count as exact, nor as infinitely wrong.
        return float(np.max(means[:, 1] / np.maximum(means[:, 0], 0.25 * inner[index].mean())))

    return Measured(*bootstrap([chosen], leak), len(rows), extra=figures)
