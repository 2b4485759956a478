# SPDX-License-Identifier: Apache-2.0
"""Are drawn defects new? Their distance to the nearest few-shot defect, beside that of real unseen ones.

Compared is the texture inside the masks, each with its mean taken out, else darkness would decide. What fails: copies,
also turned, mirrored, moved, scaled and relit.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import bootstrap
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_set import WindowSet

_SIDE = 64  # of the patches that are compared
_SHIFT = 4  # most pixels of these by which one is moved
_CONTEXT, _SMALLEST = 1.25, 16
_PERCENTILE = 5
_COVERED = 0.3  # share of a smaller pixel that belongs to the mask


def texture_patches(windows: WindowSet) -> NDArray[np.float32]:
    """Return the texture of defects on a common scale: grey, without its mean inside the mask, 0 outside, of length 1.

    Args:
        windows: N defects.

    Returns:
        float32 ``[N, 64, 64]``; all 0 for a defect without any texture.
    """
    patches = np.zeros((len(windows), _SIDE, _SIDE), np.float32)
    for index, (image, mask) in enumerate(zip(windows.images, windows.masks, strict=True)):
        rows, columns = np.nonzero(mask)
        extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
        side = int(max(_SMALLEST, _CONTEXT * extent))
        top, left = ((int(place.min()) + int(place.max()) + 1 - side) // 2 + side for place in (rows, columns))
        pads = (side, side, side, side)
        grey = cv2.copyMakeBorder(image.mean(-1).astype(np.float32), *pads, cv2.BORDER_REFLECT)
        marked = cv2.copyMakeBorder(mask.astype(np.float32), *pads, cv2.BORDER_CONSTANT)
        grey, marked = (
            cv2.resize(part[top : top + side, left : left + side], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
            for part in (grey, marked)
        )
        inside = marked > _COVERED
        if inside.any():
            patch = np.where(inside, grey - grey[inside].mean(), 0)
            length = float(np.linalg.norm(patch))
            patches[index] = patch / length if length > 1e-3 else 0
    return patches


def nearest_distances(patches: NDArray[np.float32], templates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 - the best normalised cross-correlation of each patch with any template.

    Templates are tried in all eight orientations and moved by up to 4 pixels; where only one of the two masks lies, the
    other counts as 0, so that the correlation is over both masks united.

    Args:
        patches: of :func:`texture_patches`, ``[N, 64, 64]``.
        templates: likewise, ``[K, 64, 64]``, K at least 1.

    Returns:
        ``[N]`` in [0, 2]; 0 for a copy, about 1 for another texture.
    """
    flat = patches.reshape(len(patches), -1).T
    best = np.full(len(patches), -1.0)
    for template in templates:
        views = [np.rot90(face, turn) for face in (template, template[:, ::-1]) for turn in range(4)]
        moved = []
        for picture in views:
            room = np.pad(picture, _SHIFT)
            moved += [
                room[down : down + _SIDE, right : right + _SIDE].ravel()
                for down in range(2 * _SHIFT + 1)
                for right in range(2 * _SHIFT + 1)
            ]
        best = np.maximum(best, (np.stack(moved) @ flat).max(0))
    return 1 - best


def novelty(drawn: WindowSet, few_shot: WindowSet, real: WindowSet) -> Measured:
    """Return how far drawn defects are from the few-shot ones, over how far real unseen ones are; the worst type.

    Args:
        drawn: drawn defects.
        few_shot: what the model was trained on.
        real: real unseen defects.

    Returns:
        ``value``: ratio of median distances, 1 is as new as real ones, 0 a copy; ``extra["below_p5"]``: share of drawn
        ones that are nearer to a few-shot defect than 95 % of the real unseen ones, types pooled after the distances
        were divided by the median of the type's real ones.
    """
    types = [name for name in drawn.anomaly_types if name in few_shot.types and name in real.types]
    if not types:
        return not_measured("no type has few-shot, real unseen and drawn defects", len(drawn))
    sides: dict[str, list[NDArray[np.float64]]] = {"drawn": [], "real": []}
    labels: dict[str, list[str]] = {"drawn": [], "real": []}
    groups: dict[str, list[str]] = {"drawn": [], "real": []}
    for name in types:
        templates = texture_patches(few_shot.of_type(name))
        for side, windows in (("drawn", drawn.of_type(name)), ("real", real.of_type(name))):
            sides[side].append(nearest_distances(texture_patches(windows), templates))
            labels[side] += [name] * len(windows)
            groups[side] += windows.groups
    values = {side: np.concatenate(parts) for side, parts in sides.items()}
    names = {side: np.asarray(part) for side, part in labels.items()}

    def ratio(mine: NDArray[np.int64], theirs: NDArray[np.int64], name: str) -> float:
        first = values["drawn"][mine][names["drawn"][mine] == name]
        second = values["real"][theirs][names["real"][theirs] == name]
        return float(np.median(first) / np.median(second)) if len(first) and len(second) else float("nan")

    def below(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
        scale = {name: np.median(values["real"][names["real"] == name]) for name in types}
        first = np.asarray([values["drawn"][row] / scale[names["drawn"][row]] for row in mine])
        second = np.asarray([values["real"][row] / scale[names["real"][row]] for row in theirs])
        return float((first < np.percentile(second, _PERCENTILE)).mean())

    everything = (np.arange(len(values["drawn"])), np.arange(len(values["real"])))
    by_type = {name: ratio(*everything, name) for name in types}
    worst = min(by_type, key=lambda name: by_type[name])
    both = [groups["drawn"], groups["real"]]
    found = bootstrap(both, lambda mine, theirs: ratio(mine, theirs, worst))
    near = bootstrap(both, below)
    return Measured(*found, len(values["drawn"]), by_type, {"worst_type": worst, "below_p5": near._asdict()})
