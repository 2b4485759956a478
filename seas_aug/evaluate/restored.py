# SPDX-License-Identifier: Apache-2.0
"""Does the normal prompt fill a hole with normal texture? A classifier must not tell fills from untouched places.

A classifier alone does not see blur (a hole blurred with sigma 2 scored 0.57), so the fine detail is compared too. Not
compared is the texture itself, pixel by pixel: neighbouring patches of the same surface differ by many grey levels, and
a blurred fill is nearer to the truth than a sharp one.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import Interval, bootstrap, mean_interval
from seas_aug.evaluate.group_folds import fold_scores
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_set import Images, WindowSet

_SIGMA = 2.0  # pixels; finer than this is detail
_LEVEL = 127


def detail_energy(images: Images, masks: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean square, inside each mask, of what a blur with sigma 2 takes away.

    Args:
        images: uint8 ``[N, S, S, 3]``.
        masks: uint8 ``[N, S, S]`` of 0 and 1, none empty.

    Returns:
        ``[N]``, squared grey levels.
    """
    energy = []
    for image, mask in zip(images, masks, strict=True):
        pixels = image.astype(np.float32)
        detail = pixels - cv2.GaussianBlur(pixels, (0, 0), _SIGMA)
        energy.append(float((detail[mask > 0] ** 2).mean()))
    return np.asarray(energy)


def restored(
    null: WindowSet, normal: WindowSet, null_features: NDArray[np.float32], normal_features: NDArray[np.float32]
) -> Measured:
    """Return the AUROC of a classifier that tells fills from untouched windows, and how much detail the fills have.

    Args:
        null: fills; their masks are the holes, and row by row they belong to the untouched windows.
        normal: N untouched windows, through the autoencoder, each with the place that is looked at as its mask.
        null_features: of the fills, ``[N, F]``.
        normal_features: of the untouched windows, ``[N, F]``.

    Returns:
        ``value`` in [0, 1], 0.5 cannot be told; ``extra["energy"]``: energy above sigma 2 of the fills over that of the
        untouched, inside the holes of all windows together, with its interval.
    """
    groups = null.groups
    if len(set(groups)) < 2:
        return not_measured("fewer than two groups of normal windows", len(null))
    features = np.concatenate([null_features, normal_features])
    filled = np.arange(len(features)) < len(null)
    scores = fold_scores(features, filled, [*groups, *groups])
    told = bootstrap([groups], lambda rows: scores.auroc(rows, rows + len(null)))
    energies = detail_energy(null.images, null.masks), detail_energy(normal.images, normal.masks)

    def ratio(rows: NDArray[np.int64]) -> float:
        below = float(energies[1][rows].sum())
        return float(energies[0][rows].sum()) / below if below > 0 else float("nan")

    energy: Interval = bootstrap([groups], ratio)
    return Measured(*told, len(null), extra={"energy": energy._asdict()})


def restored_pattern(null: Images, template: Images, masks: NDArray[np.uint8], groups: Sequence[str]) -> Measured:
    """Return which share of the holes' pixels lies on the wrong side of black and white, for boards.

    Args:
        null: fills, uint8 ``[N, S, S, 3]``.
        template: what is there in truth, uint8 ``[N, S, S, 3]``.
        masks: the holes, uint8 ``[N, S, S]`` of 0 and 1.
        groups: group of each.

    Returns:
        ``value`` in [0, 1], lower is better; over the pixels of all holes together.
    """
    inside = masks > 0
    wrong = (((null.mean(-1) > _LEVEL) != (template.mean(-1) > _LEVEL)) & inside).sum((1, 2))
    count = inside.sum((1, 2))
    if not count.sum():
        return not_measured("no hole", len(null))
    if len(set(groups)) < 2:
        return Measured(*mean_interval(wrong / count, groups), len(null))
    return Measured(*bootstrap([groups], lambda rows: float(wrong[rows].sum() / count[rows].sum())), len(null))
